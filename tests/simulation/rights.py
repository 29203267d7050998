"""What people ask of the staff, amid everything else: to be erased, to be taken apart, to be put together again."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.disk import Crash
from tests.simulation.server import WORKERS

if TYPE_CHECKING:
    from tests.simulation.course import Course


def erase(course: "Course") -> None:
    """Where the server dies in the midst, the journal decides whether it has happened."""
    owner = course.chance.choice(sorted(course.oracle.persons.of))
    before = course.server.erasures()
    worker = course.chance.randrange(WORKERS)
    course.server.store(worker)
    crashed = _crashes(course, lambda worker: course.server.erase(owner, worker), worker)
    erased = course.server.erasures() > before
    assert erased or crashed, "an erasure is in the journal"
    course.say("whoever is", owner, "is erased" if erased else "asks to be erased, and is not")
    if erased:
        course.tally["erasure"] += 1
        course.tally["crash in an erasure"] += crashed
        course.oracle.erase(owner, course.clock.time_ms)


def unmerge(course: "Course") -> None:
    """Keep two owners apart who are taken for one person, or might be."""
    persons = course.oracle.persons
    joined = sorted(owner for owner, members in persons.of.items() if len(members) > 1)
    if not joined:
        return
    one = course.chance.choice(joined)
    other = course.chance.choice(sorted(persons.of[one] - {one}))
    number = course.separations + 1
    course.say(one, "and", other, "are not the same person")
    if _happens(course, lambda worker: course.server.unmerge([one], [other], worker)):
        course.separations = number
        course.tally["unmerge"] += 1
        persons.separate(number, [one], [other], course.witness.age)


def lift(course: "Course") -> None:
    """Take a separation back."""
    persons = course.oracle.persons
    if persons.apart:
        number = course.chance.choice(sorted(persons.apart))
        course.say("separation", number, "is lifted")
        if _happens(course, lambda worker: course.server.lift(number, worker)):
            course.tally["lifted separation"] += 1
            persons.lift(number, course.witness.age)


def _happens(course: "Course", act: Callable[[int], object]) -> bool:
    """Whether what a worker is to do was committed."""
    worker = course.chance.randrange(WORKERS)
    course.server.store(worker)  # opening it is a transaction of its own
    before = course.changes()
    return not _crashes(course, act, worker) or course.changes() > before


def _crashes(course: "Course", act: Callable[[int], object], worker: int) -> bool:
    """Have a worker do something; whether it died."""
    if course.chance.random() < 0.3:
        course.disk.arm(course.plan())
    try:
        act(worker)
    except Crash:
        course.server.stop()
        return True
    course.disk.disarm()
    return False
