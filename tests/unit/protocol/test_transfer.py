import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocol.transfer import RETRY, RETRY_CAP, WINDOW, Ask, Complete, Transfer, Write
from edge_agent.wire import blocks

FILE = random.Random(1).randbytes(2000)
CUT = blocks.cut("0" * 64, "m", FILE, block=100)


def data(index: int) -> bytes:
    return FILE[index * 100 : index * 100 + 100]


def test_a_wrong_block_is_counted_not_written_and_asked_for_again() -> None:
    transfer = Transfer(CUT, (), random.Random(0))
    transfer.start(0.0)
    assert transfer.block(0, b"evil", 1.0) == []
    assert transfer.block(0, data(1), 1.0) == []
    assert transfer.wrong == 2
    assert transfer.block(99, b"", 1.0) == []
    assert transfer.deadline is not None
    (ask,) = transfer.tick(transfer.deadline)
    assert isinstance(ask, Ask)
    assert 0 in ask.blocks
    assert transfer.had == 0
    assert Write(CUT, 0, data(0)) in transfer.block(0, data(0), 9.0)
    assert transfer.block(0, data(0), 9.0) == []
    assert (transfer.had, transfer.wrong) == (1, 2)


def test_what_is_on_the_disk_is_not_asked_for() -> None:
    transfer = Transfer(CUT, set(range(19)), random.Random(0))
    assert transfer.start(0.0) == [Ask(CUT.digest, (19,))]
    assert transfer.block(19, data(19), 0.0) == [Write(CUT, 19, data(19)), Complete(CUT.digest)]
    assert transfer.deadline is None
    assert transfer.tick(1e9) == []
    assert Transfer(CUT, set(range(20)), random.Random(0)).start(0.0) == [Complete(CUT.digest)]


def test_silence_is_answered_more_and_more_rarely() -> None:
    transfer = Transfer(CUT, (), random.Random(0))
    transfer.start(0.0)
    now, waits = 0.0, []
    for _ in range(12):
        assert transfer.deadline is not None
        waits.append(transfer.deadline - now)
        assert transfer.tick(transfer.deadline - 0.1) == []
        now = transfer.deadline
        assert transfer.tick(now)
    for number, wait in enumerate(waits):
        middle = min(RETRY * 2**number, RETRY_CAP)
        assert 0.75 * middle <= wait <= 1.25 * middle
    assert max(waits[6:]) - min(waits[6:]) > RETRY_CAP / 10  # devices do not ask in step
    transfer.block(0, data(0), now)
    assert transfer.deadline is not None
    assert transfer.deadline - now <= 1.25 * RETRY


def test_blocks_are_asked_for_in_pairs_four_on_the_way() -> None:
    transfer = Transfer(CUT, (), random.Random(0))
    asked = []
    todo, coming = transfer.start(0.0), []
    while todo:
        for effect in todo:
            if isinstance(effect, Ask):
                asked.append(effect.blocks)
                coming += effect.blocks
        assert len(coming) <= WINDOW
        todo = transfer.block(coming[0], data(coming.pop(0)), 0.0) if coming else []
    assert asked == [(0, 1, 2, 3), *((i, i + 1) for i in range(4, 20, 2))]


@given(st.randoms(), st.floats(0, 0.5))
def test_it_completes_over_any_link_with_few_blocks_on_the_way(rng: random.Random, loss: float) -> None:
    transfer = Transfer(CUT, (), random.Random(0))
    file = bytearray(len(FILE))
    todo, coming, now = transfer.start(0.0), [], 0.0
    while True:
        for effect in todo:
            match effect:
                case Ask(_, wanted):
                    coming += wanted
                case Write(_, index, block):
                    file[index * 100 : index * 100 + 100] = block
                case Complete():
                    assert bytes(file) == FILE
                    return
        assert len(coming) <= 2 * WINDOW
        if coming:
            index = coming.pop(rng.randrange(len(coming)))
            todo = [] if rng.random() < loss else transfer.block(index, data(index), now)
        else:
            assert transfer.deadline is not None
            now = transfer.deadline
            todo = transfer.tick(now)
