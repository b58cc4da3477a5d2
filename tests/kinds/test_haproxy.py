"""What is said to HAProxy and how its answers are read; its behaviour is in the tests of the two endpoints."""

from hypothesis import given
from hypothesis import strategies as st

from everup.kinds import _haproxy
from everup.kinds._haproxy_reading import Server, read_servers
from everup.model.desired import Protocol, Socket, Tcp

HEADER = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord\n"
)
SESSIONS = "# pxname,svname,qcur,qmax,scur,smax\napp,web-1,0,0,3,9\napp,web-2,0,0,0,9\nother,web-2,0,0,7,9\n\n"


def line(name: str, op_state: int, admin: int) -> str:
    return f"3 app 1 {name} 127.0.0.9 {op_state} {admin} 1 1 5 6 3 4 6 0 0 0 - 8080 -\n"


def servers(*lines: str, sessions: str = SESSIONS) -> dict[str, Server]:
    found: dict[str, Server] = read_servers((HEADER + "".join(lines), sessions)).facts["servers"]
    return found


def test_states_and_sessions_are_read():
    assert servers(line("web-1", 2, 0), line("web-2", 0, 0)) == {
        "web-1": Server("127.0.0.9:8080", up=True, admin="ready", sessions=3),
        "web-2": Server("127.0.0.9:8080", up=False, admin="ready", sessions=0),
    }


def test_the_administrative_bits_become_words():
    words = {admin: servers(line("web-1", 2, admin))["web-1"].admin for admin in (0, 1, 4, 5, 8, 9, 12, 32)}
    assert words == {0: "ready", 1: "maint", 4: "ready", 5: "maint", 8: "drain", 9: "maint", 12: "drain", 32: "maint"}


def copies(*states: str) -> dict[str, Server]:
    replies = [text for state in states for text in (HEADER + state, SESSIONS)]
    found: dict[str, Server] = read_servers(tuple(replies)).facts["servers"]
    return found


def test_copies_on_several_hosts_are_read_as_one_and_the_odd_one_decides():
    agreed = copies(line("web-1", 2, 0), line("web-1", 2, 0), line("web-1", 2, 0))["web-1"]
    assert (agreed.serves, agreed.address, agreed.sessions) == (True, "127.0.0.9:8080", 9)
    for odd in (line("web-1", 0, 0), line("web-1", 2, 1)):
        for states in ((odd, line("web-1", 2, 0)), (line("web-1", 2, 0), odd)):
            assert not copies(*states)["web-1"].serves
    apart = copies(line("web-1", 2, 0), line("web-1", 2, 0).replace("127.0.0.9", "127.0.0.8"))["web-1"]
    assert apart.address == "127.0.0.9:8080 and 127.0.0.8:8080"


def test_an_answer_without_servers_is_not_ready():
    assert not read_servers(("", "")).ready
    assert not read_servers(()).ready


garbage = st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.text().map(lambda text: HEADER + text))


@given(st.lists(garbage, max_size=3).map(tuple))
def test_garbage_is_survived(replies: tuple[object, ...]):
    assert read_servers(replies).ready in (True, False)


@given(st.lists(st.text(alphabet="web-120,. \n#", max_size=60), max_size=4))
def test_a_damaged_answer_never_invents_a_server_that_serves(lines: list[str]):
    found = read_servers((HEADER + "".join(lines), "")).facts.get("servers", {})
    assert all(isinstance(server, Server) for server in found.values())


def test_pointing_moves_admits_cuts_and_opens_the_gate_in_that_order():
    ask = _haproxy.point("redis01-endpoint", Tcp("127.0.0.7", 6379))
    assert (ask.to, ask.protocol) == (Socket("redis01-endpoint", "haproxy.sock"), Protocol.HAPROXY)
    assert list(ask.commands) == [
        ("set server p/primary addr 127.0.0.7 port 6379",),
        ("set server p/primary state ready",),
        ("set server p/primary health up",),
        ("shutdown sessions server p/primary",),
        ("clear table gate",),
    ]


def test_the_gate_is_before_the_primary_alone_and_opens_by_itself():
    members = {"redis01-1": Tcp("127.0.0.1", 6379)}
    before = _haproxy.primary_node("redis01", Tcp("127.0.0.99", 6379), Tcp("127.0.0.1", 6379), (), members)
    readers = _haproxy.readers_node("db01", Tcp("127.0.0.98", 5432), {}, "/replica")
    assert set(before.files) == {"haproxy.cfg", "gate.lua"} and set(readers.files) == {"haproxy.cfg"}
    assert "expire 4s" in before.files["haproxy.cfg"]
    assert [words for ask in (_haproxy.shut("e"), _haproxy.open_again("e")) for words in ask.commands] == [
        ("set table gate key 1",),
        ("clear table gate",),
    ]


def test_replies_that_report_success_are_no_problem():
    moved = "IP changed from '127.0.0.1' to '127.0.0.2', port changed from '1' to '2' by 'stats socket command'\n\n"
    same = "no need to change the addr, no need to change the port by 'stats socket command'\n\n"
    assert _haproxy.problem((moved, same, "\n", "")) == ""
    assert _haproxy.problem((moved, "No such server.\n\n")) == "No such server."


def test_a_growing_service_reloads_its_endpoint_and_does_not_restart_it():
    addresses = {f"web-{n}": Tcp(f"127.0.0.{n}", 8080) for n in range(1, 9)}
    small = _haproxy.http_node("web", Tcp("127.0.0.99", 80), dict(list(addresses.items())[:3]), "tcp", 30)
    large = _haproxy.http_node("web", Tcp("127.0.0.99", 80), addresses, "tcp", 30)
    assert small.digest == large.digest
    assert small.files_digest != large.files_digest


def test_each_server_says_how_long_it_may_acknowledge_nothing():
    """What `default-server` says of it reaches no server."""
    servers = {f"web-{n}": Tcp(f"127.0.0.{n}", 80) for n in (1, 2)}
    text = _haproxy.http_node("web", Tcp("127.0.0.99", 80), servers, "tcp", 30, aside={"web-2"}).files["haproxy.cfg"]
    assert "  server web-1 127.0.0.1:80 tcp-ut 3s\n  server web-2 127.0.0.2:80 tcp-ut 3s disabled\n" in text


def test_what_timed_out_is_replayed_only_where_timing_out_is_quick():
    def causes(timeout_s: float) -> str:
        node = _haproxy.http_node("web", Tcp("127.0.0.99", 80), {"web-1": Tcp("127.0.0.1", 80)}, "tcp", timeout_s)
        return next(line for line in node.files["haproxy.cfg"].splitlines() if "retry-on" in line)

    assert "response-timeout" in causes(1.0)
    assert "response-timeout" not in causes(30.0)
