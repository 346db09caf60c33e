"""Whether a history of concurrent calls is one that a correct store could have given: pure functions over a record.

Each call has the time before it began and the time after it ended, of one clock. A call without an end was cut off by
the death of its process: it may have happened, at any time since, or never. The order in which the store stored things
is known in the end, so nothing has to be searched for (O(n log n)):

- What is only added to (messages, snapshots, counters) is a sequence. A call that ended before another began must not
  have seen, or made, more of it than the other saw, or found when it began (``check_real_time``).
- What is replaced (titles, refs, routes, totals, who made a session) is a register to which no value is written twice.
  Each value has its time, from the first call that is done with it to the last that begins with it; no two of these may
  have to be before each other (Gibbons and Korach, "Testing shared memories"). A compare-and-set joins the times of two
  values to one, with nothing in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

NEVER = 1 << 62
"""When a call that was cut off ended."""
ALWAYS = -1
"""When what was there from the beginning was made."""


class Violation(AssertionError):
    """A history that no correct store gives."""


@dataclass(frozen=True, slots=True)
class Seen:
    """That at some moment between ``begun`` and ``ended`` a sequence was so long.

    Attributes:
        begun: before the call.
        ended: after it, or ``NEVER``.
        before: how long it was at most just before.
        after: how long it was at least just after.
        what: the call, for whoever reads of it.
    """

    begun: int
    ended: int
    before: int
    after: int
    what: str


def check_real_time(seen: Iterable[Seen]) -> None:
    """See that no call found less than one that had ended before it began."""
    calls = list(seen)
    by_end = sorted((call for call in calls if call.ended < NEVER), key=lambda call: call.ended)
    ends = [call.ended for call in by_end]
    most: list[Seen] = []
    for call in by_end:
        most.append(call if not most or call.after > most[-1].after else most[-1])
    for call in calls:
        place = bisect_left(ends, call.begun)
        if place and most[place - 1].after > call.before:
            raise Violation(f"{call.what} goes back behind {most[place - 1].what}, which had ended before it began")


# Sequences


@dataclass(frozen=True, slots=True)
class Added:
    """A call that adds things to the end of a sequence, all of them or none.

    Attributes:
        things: what tells each from all others.
        places: where the answer said that they are, from 0; None where it did not say.

    Calls that add the same things are attempts at one addition.
    """

    begun: int
    ended: int
    things: tuple[str, ...]
    places: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ReadAll:
    """A call that shows a whole sequence: how long it is, and a digest of it (``digest``)."""

    begun: int
    ended: int
    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class ReadLength:
    """A call that shows at least how long a sequence is, or whether one thing is in it.

    Attributes:
        length: how long; None when it only told of ``thing``.
        thing: what was looked for.
        found: whether it was there.
    """

    begun: int
    ended: int
    length: int | None = None
    thing: str | None = None
    found: bool = False


def digest(things: Sequence[str]) -> str:
    """What ``ReadAll`` records of a sequence."""
    return digests(things)[-1]


def digests(things: Sequence[str]) -> list[str]:
    """The same of every beginning of a sequence, the empty one first."""
    total = blake2b(digest_size=8)
    found = [total.hexdigest()]
    for thing in things:
        total.update(f"{len(thing)}:{thing}".encode())
        found.append(total.hexdigest())
    return found


def check_sequence(
    name: str, final: Sequence[str], added: Iterable[Added], reads: Iterable[ReadAll | ReadLength]
) -> None:
    """See that what is there in the end is what was added, and that every call saw a beginning of it in its time."""
    places = {thing: place for place, thing in enumerate(final)}
    if len(places) < len(final):
        twice = next(thing for place, thing in enumerate(final) if places[thing] != place)
        raise Violation(f"{name}: {twice!r} is there twice")
    calls = list(added)
    if strange := places.keys() - {thing for call in calls for thing in call.things}:
        raise Violation(f"{name}: {min(strange)!r} is there and nobody added it")
    seen = _additions(name, places, calls)
    inner = {places[thing] for call in calls for thing in call.things[1:] if thing in places}
    beginnings = digests(final)
    for read in reads:
        seen.append(_read(name, read, beginnings, inner) if isinstance(read, ReadAll) else _look(name, read, places))
    check_real_time(seen)


def _additions(name: str, places: dict[str, int], calls: list[Added]) -> list[Seen]:
    """What the calls that added say of the sequence; those that added the same thing are one, cut off or not."""
    first: dict[str, int] = {}
    for call in calls:
        first[call.things[0]] = min(call.begun, first.get(call.things[0], NEVER))
    seen = []
    for call in calls:
        there = [places[thing] for thing in call.things if thing in places]
        if len(there) not in (0, len(call.things)):
            raise Violation(f"{name}: of {call.things}, which were added together, only {len(there)} are there")
        if not there and call.ended < NEVER:
            raise Violation(f"{name}: {call.things} was acknowledged and is lost")
        if not there:
            continue
        if there != list(range(there[0], there[0] + len(there))):
            raise Violation(f"{name}: {call.things} were added together, and are at {there}")
        if call.places is not None and list(call.places) != there:
            raise Violation(f"{name}: {call.things} was said to be at {call.places}, and is at {there}")
        # By the first attempt or by the last: not before the first began, and not after any ended.
        begun = first[call.things[0]]
        seen.append(Seen(begun, call.ended, there[0], there[-1] + 1, f"{name}: to add {call.things}"))
    return seen


def _read(name: str, read: ReadAll, beginnings: list[str], inner: set[int]) -> Seen:
    what = f"{name}: a read of {read.length}"
    if read.length >= len(beginnings) or beginnings[read.length] != read.digest:
        raise Violation(f"{what} shows what is no beginning of what is there in the end")
    if read.length in inner:
        raise Violation(f"{what} shows a part of what was added together")
    return Seen(read.begun, read.ended, read.length, read.length, what)


def _look(name: str, read: ReadLength, places: dict[str, int]) -> Seen:
    if read.length is not None:
        return Seen(read.begun, read.ended, read.length, read.length, f"{name}: a look at the length, {read.length}")
    what = f"{name}: a look for {read.thing!r}, {'found' if read.found else 'not found'}"
    if read.thing not in places:
        if read.found:
            raise Violation(f"{what}, which is not there in the end")
        return Seen(read.begun, read.ended, NEVER, 0, what)
    place = places[read.thing]
    return Seen(read.begun, read.ended, NEVER if read.found else place, place + 1 if read.found else 0, what)


# Sums


@dataclass(frozen=True, slots=True)
class Sum:
    """A call that adds to a counter, or shows it: a bit for each addition, so that a sum tells which are in it.

    Attributes:
        bits: those added (one), or those shown.
        is_read: whether it shows.
    """

    begun: int
    ended: int
    bits: int
    is_read: bool


def check_sums(name: str, calls: Iterable[Sum]) -> None:
    """See that every sum shown is of whole additions, each counted once, and that each continues the one before."""
    found = list(calls)
    reads = sorted({call.bits for call in found if call.is_read} | {0}, key=int.bit_count)
    tried = 0
    for call in found:
        tried |= 0 if call.is_read else call.bits
    for smaller, larger in pairwise(reads):
        if smaller & ~larger:
            raise Violation(f"{name}: two sums were shown, and neither continues the other: {smaller:#x} {larger:#x}")
    if reads[-1] & ~tried:
        raise Violation(f"{name}: a sum was shown that nobody's additions make: {reads[-1]:#x}")
    gap = {bits: 2 * place for place, bits in enumerate(reads)}
    first: dict[int, int] = {}
    for place in range(1, len(reads)):
        new = reads[place] & ~reads[place - 1]
        while new:
            low = new & -new
            first[low] = 2 * place - 1
            new ^= low
    check_real_time(
        Seen(call.begun, call.ended, place, place, f"{name}: {'a sum of' if call.is_read else 'to add'} {call.bits:#x}")
        for call in found
        for place in [gap[call.bits] if call.is_read else first.get(call.bits, NEVER)]
        if call.is_read or call.ended < NEVER or call.bits in first
    )


# Registers


@dataclass(frozen=True, slots=True)
class Write:
    """A call that replaces what is there; with ``old`` only if that is what is there, and ``done`` tells whether.

    Attributes:
        value: written by no other call.
        is_conditional: whether it compares.
        old: what it compares with.
        done: whether it said that it did; None when it was cut off.
    """

    begun: int
    ended: int
    value: Hashable
    is_conditional: bool = False
    old: Hashable = None
    done: bool | None = True


@dataclass(frozen=True, slots=True)
class Read:
    """A call that shows what is there."""

    begun: int
    ended: int
    value: Hashable


@dataclass(frozen=True, slots=True)
class _Time:
    """The time of a value, or of several joined to one: from the first end to the last begin.

    Attributes:
        values: in their order.
        first_end: of any call with them.
        last_begin: of any call with them.
    """

    values: list[Hashable]
    first_end: int
    last_begin: int

    @property
    def is_forward(self) -> bool:
        """Whether there is a time at which it must have been there."""
        return self.first_end < self.last_begin


def check_register(name: str, initial: Hashable, calls: Iterable[Write | Read]) -> None:
    """See that some order of the calls explains all of them."""
    made = list(calls)
    writes = _writes(name, initial, made)
    spans: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
    for call in made:
        if isinstance(call, Read):
            _check_read(name, writes, call)
            spans[call.value].append((call.begun, call.ended))
    for write in writes.values():
        spans[write.value].append((write.begun, write.ended))
    after = _joined(name, writes, spans)
    times = _times(writes, spans, after)
    if sum(len(time.values) for time in times) < len(writes):
        raise Violation(f"{name}: values took each other's place in a circle")
    for time in times:
        _check_inner(name, time, spans)
    _check_order(name, times)
    _check_refusals(name, made, spans)


def _writes(name: str, initial: Hashable, calls: list[Write | Read]) -> dict[Hashable, Write]:
    """By value, the writes that happened, so far as can be told: one cut off did if its value was seen."""
    seen = {call.value for call in calls if isinstance(call, Read)}
    # A value is also seen by who compared with it and found it; such a one may have been cut off itself.
    found = {call.value: call for call in calls if isinstance(call, Write) and call.done is not False}
    for call in found.values():
        if call.done:
            seen.add(call.value)
    waiting = [value for value in seen if value in found]
    while waiting:
        call = found[waiting.pop()]
        if call.is_conditional and call.old not in seen:
            seen.add(call.old)
            waiting.extend([call.old] if call.old in found else [])
    if len(found) < sum(isinstance(call, Write) and call.done is not False for call in calls):
        raise ValueError(f"{name}: a value was written twice, so this tells nothing")
    return {initial: Write(ALWAYS, ALWAYS, initial)} | {value: call for value, call in found.items() if value in seen}


def _check_read(name: str, writes: dict[Hashable, Write], read: Read) -> None:
    if read.value not in writes:
        raise Violation(f"{name}: {read.value!r} was read and nobody wrote it")
    if read.ended < writes[read.value].begun:
        raise Violation(f"{name}: {read.value!r} was read before it was written")


def _joined(
    name: str, writes: dict[Hashable, Write], spans: dict[Hashable, list[tuple[int, int]]]
) -> dict[Hashable, Hashable]:
    """For each value that a compare-and-set found, the value that it put in its place."""
    after: dict[Hashable, Hashable] = {}
    for value, write in writes.items():
        if not write.is_conditional:
            continue
        if write.old not in writes:
            raise Violation(f"{name}: {value!r} took the place of {write.old!r}, which was never there")
        if write.old in after:
            raise Violation(f"{name}: {after[write.old]!r} and {value!r} both took the place of {write.old!r}")
        after[write.old] = value
        spans[write.old].append((write.begun, write.ended))
    return after


def _times(
    writes: dict[Hashable, Write], spans: dict[Hashable, list[tuple[int, int]]], after: dict[Hashable, Hashable]
) -> list[_Time]:
    """The times of all values, those that are joined in one."""
    times = []
    for value, write in writes.items():
        if write.is_conditional:
            continue
        values = [value]
        while values[-1] in after:
            values.append(after[values[-1]])
        calls = [span for joined in values for span in spans[joined]]
        times.append(_Time(values, min(ended for _, ended in calls), max(begun for begun, _ in calls)))
    return times


def _check_inner(name: str, time: _Time, spans: dict[Hashable, list[tuple[int, int]]]) -> None:
    """See that those that are joined come in their order."""
    last_begin = ALWAYS
    for value in time.values:
        if min(ended for _, ended in spans[value]) < last_begin:
            raise Violation(f"{name}: {value!r} was there before one began with what it took the place of")
        last_begin = max(last_begin, *(begun for begun, _ in spans[value]))


def _check_order(name: str, times: list[_Time]) -> None:
    forward = sorted((time for time in times if time.is_forward), key=lambda time: time.first_end)
    for one, other in pairwise(forward):
        if other.first_end < one.last_begin:
            raise Violation(f"{name}: {one.values!r} and {other.values!r} were there at once, or came back")
    starts = [time.first_end for time in forward]
    for time in times:
        place = bisect_left(starts, time.last_begin)
        if not time.is_forward and place and time.first_end < forward[place - 1].last_begin:
            within = forward[place - 1].values
            raise Violation(f"{name}: {time.values!r} was written while {within!r} was there before it and after it")


def _check_refusals(name: str, calls: list[Write | Read], spans: dict[Hashable, list[tuple[int, int]]]) -> None:
    """See that no compare-and-set was refused while what it compared with was there all the time."""
    for call in calls:
        if isinstance(call, Write) and call.done is False and call.old in spans:
            first_end = min(ended for _, ended in spans[call.old])
            last_begin = max(begun for begun, _ in spans[call.old])
            if first_end < call.begun and call.ended < last_begin:
                raise Violation(f"{name}: {call.value!r} was refused, and {call.old!r} was there all the time")


# What one call shows of several things


def check_revisions(name: str, rows: Iterable[tuple[int, int]]) -> None:
    """See that one revision shows one history, and later ones no shorter: pairs of a revision and a length."""
    last = (0, 0)
    for revision, length in sorted(rows):
        if length < last[1] or (revision == last[0] and length != last[1]):
            raise Violation(f"{name}: revision {last[0]} shows {last[1]} messages, and revision {revision} {length}")
        last = (revision, length)
