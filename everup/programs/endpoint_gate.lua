-- Runs in the HAProxy of a primary's endpoint: while the table `gate` has the key 1, who connects waits here.
-- The entry ends by itself, so nobody waits for ever.

local SOON_MS, LATER_MS = 1, 10

local function shut(txn)
  local found = txn.c:in_table(1, "gate")
  return found == 1 or found == true -- true since HAProxy 3.1
end

core.register_action("wait_at_gate", { "tcp-req" }, function(txn)
  local looks = 0
  while shut(txn) do
    looks = looks + 1
    core.msleep(looks <= 10 and SOON_MS or LATER_MS)
  end
end)
