"""Carries one notification to one place, in a process of its own: a slow server there delays nobody here.

    python -m everup.programs.deliver < MESSAGE

MESSAGE is a JSON object: `url` as Apprise understands it, `title`, `body` and `type`; without a title the URL is only
looked over. One JSON object is printed: `sent`, `because`, and `lasting`, true where trying again is of no use. The URL
may hold secrets, so it is neither an argument nor printed.
"""

import json
import os
import sys

from everup.model.notices import without_secrets

MODEST = 10
"""How much this stands back behind others (nice(2))."""

MISSING = "Apprise, which carries notifications, is not installed: pip install 'everup[notify]'"


def deliver(message: dict[str, str]) -> dict[str, object]:
    """Try once; what became of it."""
    try:
        import apprise
    except ImportError:
        return {"sent": False, "because": MISSING, "lasting": True}
    with apprise.LogCapture(level=30, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
        carrier = apprise.Apprise()
        known = carrier.add(message["url"])
        if known and "title" in message:
            sent = bool(carrier.notify(title=message["title"], body=message["body"], notify_type=message["type"]))
        else:
            sent = known
        words = " ".join(said.getvalue().split())
    if not known:
        words = "Apprise does not understand that URL: https://appriseit.com/services lists what it does"
    because = "" if sent else without_secrets(words, message["url"]) or "it was not taken there"
    return {"sent": sent, "because": because[:300], "lasting": not known}


if __name__ == "__main__":
    os.nice(MODEST)
    print(json.dumps(deliver(json.load(sys.stdin))))
