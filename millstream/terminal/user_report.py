"""What a model knows of one user and the list it makes of that, for people: `inspect --user` and `replay --user`."""

from typing import TYPE_CHECKING

from millstream.terminal.read_only import as_time, rows_of
from stream.wire.escaping import printable

if TYPE_CHECKING:
    from stream.learning.user_view import UserView

__all__ = ["user_lines"]

MAX_HISTORY = 20


def user_lines(view: "UserView", title: str) -> list[str]:
    """Return the history, the list with its reasons, and how much each channel counts; ids are written out.

    Args:
        view: of one user.
        title: what list it is.
    """
    lines = ["", f"user {printable(view.user)} (partition {view.partition})", ""]
    lines += [f"  what the model knew of this user, newest of {len(view.history)} events first:"]
    width = max([4, *(len(printable(item.item)) for item in view.items)])
    place_of = {event.item: place for place, event in reversed(list(enumerate(view.history, 1)))}
    lines += [
        f"  {place:>3}  {as_time(event.time_ms)}  {event.type:10}  {printable(event.item)}"
        for place, event in enumerate(view.history[:MAX_HISTORY], 1)
    ]
    if len(view.history) > MAX_HISTORY:
        lines.append(f"       … and {len(view.history) - MAX_HISTORY} more (--json has all)")
    lines += ["", f"  {title}:"]
    for place, item in enumerate(view.items, 1):
        because = (
            "no item of the history by itself" if item.reason is None else f"mostly because of {printable(item.reason)}"
        )
        if item.reason in place_of:
            because += f" (no. {place_of[item.reason]} above)"
        lines.append(f"  {place:>3}  {printable(item.item):{width}}  {item.score:.6f}  {because}")
    lines += ["", "  how much the log-score of each channel counts, on average:"]
    return lines + rows_of({name: f"{weight:+.3f}" for name, weight in view.channel_weights.items()}, "    ") + [""]
