"""The loan protocol: lends a suspended population to a peer with room. At most one of the two runs it.

Theory of operation. A loan is in one of these states; arrows are what moves it::

    owner     OFFERED --adopted--> LENT --recall()--> RECALLED --returned--> over: Resume
              OFFERED --refused, recall(), or no answer--> over: Resume
              LENT, RECALLED --borrower gone for two leases--> over: Resume with the old beliefs

    borrower  OFFERED --all blocks: Adopt--> ADOPTED --confirmed--> RUNNING
              RUNNING --recall: GiveBack, give_back()--> RETURNED --released--> over: Drop
              RUNNING --owner has a new life: adopted, answered by released--> over: Drop
              OFFERED, ADOPTED --refuse()--> over
              any --owner gone for a lease--> over: Drop

The owner confirms before the borrower may run. A borrower that receives nothing from the owner stops after
one lease; the owner starts again after two. So the two never run at the same time, whatever messages are
lost. Messages that need an answer are repeated every ``retry`` seconds. Beliefs are signed; a checkpoint from
a device with an unknown key is refused.

Events in: `offer`, `recall`, `give_back`, `receive`, `tick`; effects out: publications and what the
application is to do. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from edge_agent.errors import PeerError
from edge_agent.protocol.peers.block_buffer import BlockBuffer, cut, genuine
from edge_agent.protocol.peers.loan_effects import (
    Adopt,
    Drop,
    Effect,
    GiveBack,
    Key,
    Loan,
    LoanSettings,
    LoanState,
    Resume,
    Run,
)
from edge_agent.protocol.peers.members import Members
from edge_agent.protocol.ports import Publication
from edge_agent.wire import messages
from edge_agent.wire.loan import LoanMessage, from_body, to_body
from edge_agent.wire.signatures import PublicKey, SecretKey
from edge_agent.wire.topics import DeviceTopics


class Loans:
    """All loans of one device, as owner and as borrower.

    Parameters
    ----------
    topics : DeviceTopics
        Fleet and device.
    members : Members
        Who is here, with what room and which bundles.
    secret : SecretKey
        Signs the beliefs that leave.
    keys : mapping of device to PublicKey
        Whose beliefs are taken.
    first_loan : int
        Greater than any loan of an earlier life: the incarnation does.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        members: Members,
        secret: SecretKey,
        keys: Mapping[str, PublicKey],
        settings: LoanSettings,
        first_loan: int,
    ) -> None:
        self.topics = topics
        self.settings = settings
        self._members = members
        self._secret = secret
        self._keys = keys
        self._next = first_loan
        self._loans: dict[Key, Loan] = {}

    def states(self) -> dict[Key, LoanState]:
        """Return where each loan stands, by (owner, number)."""
        return {key: loan.state for key, loan in self._loans.items()}

    def offer(self, population: str, bundle: bytes, room: int, checkpoint: bytes, now: float) -> list[Effect]:
        """Look for a peer that can run a suspended population; nothing happens if there is none."""
        for device in self._hosts(bundle, room):
            self._next += 1
            head = LoanMessage("offer", self._next, self.topics.device, device, population, bundle, room)
            loan = Loan(head, LoanState.OFFERED, device, now, now, now, checkpoint=checkpoint)
            loan.outgoing = list(cut(head, checkpoint, self._secret))
            self._loans[self.topics.device, self._next] = loan
            return self._publish(loan.outgoing)
        return []

    def recall(self, population: str, now: float) -> list[Effect]:
        """Ask for a population that was lent; withdraw it if nobody runs it yet."""
        for key, loan in list(self._loans.items()):
            if key[0] != self.topics.device or loan.head.population != population:
                continue
            if loan.state is LoanState.OFFERED:  # what was not confirmed does not run
                return self._over(key, Resume(population, loan.checkpoint))
            if loan.state is LoanState.LENT:
                loan.state, loan.since = LoanState.RECALLED, now
                return self._say(loan, [self._reply(loan, "recall")], now)
        return []

    def give_back(self, key: Key, checkpoint: bytes, now: float) -> list[Effect]:
        """Return a population, asked for or not; it has stopped."""
        loan = self._loans[key]
        loan.state, loan.since = LoanState.RETURNED, now
        return self._say(loan, list(cut(self._reply(loan, "returned"), checkpoint, self._secret)), now)

    def lent(self) -> list[LoanMessage]:
        """Return the heads of the loans by which a peer may run one of ours: to be kept over a restart."""
        mine = (loan for key, loan in self._loans.items() if key[0] == self.topics.device)
        return [replace(loan.head, to=loan.with_whom) for loan in mine if loan.state is not LoanState.OFFERED]

    def resume(self, head: LoanMessage, checkpoint: bytes, now: float) -> None:
        """Go on with a loan of an earlier life; ``checkpoint`` is what is left if the borrower is gone."""
        loan = Loan(head, LoanState.LENT, head.to, now, now, now, checkpoint=checkpoint)
        loan.outgoing = [self._reply(loan, "confirmed")]
        self._loans[self.topics.device, head.loan] = loan

    def refuse(self, key: Key, reason: str) -> list[Effect]:
        """Let a population go that could not be made ready."""
        loan = self._loans.pop(key)
        return self._publish([replace(self._reply(loan, "refused"), reason=reason)])

    def receive(self, device: str, payload: bytes, now: float) -> list[Effect]:
        """Take a message from ``peer/DEVICE/handover``.

        Raises
        ------
        PeerError
            It is malformed or not signed by its sender; the caller counts it.
        """
        message = from_body(messages.decode_envelope(payload).body)
        if message.to != self.topics.device:
            return []
        key = (message.owner, message.loan)
        if message.kind == "offer":
            if message.owner != device:
                raise PeerError(f"handover: {device} offers what belongs to {message.owner}")
            return self._offered(key, message, now)
        loan = self._loans.get(key)
        if loan is None or loan.with_whom != device:
            # It is over here: say so, or the other side asks for ever.
            if message.kind in ("adopted", "returned") and message.owner == self.topics.device:
                return self._publish([LoanMessage("released", message.loan, message.owner, device)])
            if message.kind in ("recall", "confirmed") and message.owner == device:
                return self._publish(
                    [LoanMessage("refused", message.loan, device, device, reason="no such loan")]
                )
            return []
        loan.heard_at = now
        if message.owner == self.topics.device:
            return self._receive_as_owner(key, loan, message, now)
        return self._receive_as_borrower(key, loan, message)

    def tick(self, now: float) -> list[Effect]:
        """Repeat what was not answered; end what waits in vain."""
        effects: list[Effect] = []
        for key, loan in list(self._loans.items()):
            here = self._members.presence(loan.with_whom)
            if here is not None:
                loan.heard_at = now
            if loan.state is LoanState.RUNNING and here is not None and here.incarnation != loan.life:
                # Another connection, or another start: then the owner knows of no loan, and will say so.
                loan.life = here.incarnation
                effects += self._publish([self._reply(loan, "adopted")])
            mine, silent = key[0] == self.topics.device, now - loan.heard_at
            offered = loan.state is LoanState.OFFERED
            late = offered and now - loan.since > self.settings.patience
            if mine and (late or (not offered and silent > 2 * self.settings.lease)):
                effects += self._over(key, Resume(loan.head.population, loan.checkpoint))
            elif not mine and (late or silent > self.settings.lease):
                effects += self._over(key, Drop(key))
            elif loan.outgoing and now - loan.said_at >= self._interval(loan):
                effects += self._say(loan, loan.outgoing, now)
        return effects

    def _interval(self, loan: Loan) -> float:
        # While lent, the confirmation is repeated too, slowly: a borrower that lost the loan will say so.
        return self.settings.patience if loan.state is LoanState.LENT else self.settings.retry

    def _hosts(self, bundle: bytes, room: int) -> list[str]:
        hosts = []
        for device in self._members.roster:
            here = self._members.presence(device)
            if (
                here is not None
                and device != self.topics.device
                and device in self._keys
                and here.room >= room
                and bundle in here.bundles
            ):
                hosts.append((-self._members.reputations[device], -here.room, device))
        return [device for _, _, device in sorted(hosts)]

    def _offered(self, key: Key, message: LoanMessage, now: float) -> list[Effect]:
        loan = self._loans.get(key)
        if loan is None:
            if not genuine(message, self._keys.get(message.owner)):
                raise PeerError(f"handover: beliefs of {message.owner} without its signature")
            me = self._members.presence(self.topics.device)
            if me is None or me.room < message.room or message.bundle not in me.bundles:
                refusal = LoanMessage("refused", message.loan, message.owner, message.owner, reason="no room")
                return self._publish([refusal])
            loan = Loan(message, LoanState.OFFERED, message.owner, now, now, now, buffer=BlockBuffer(message))
            owner = self._members.presence(message.owner)
            loan.life = -1 if owner is None else owner.incarnation
            self._loans[key] = loan
        if loan.state is not LoanState.OFFERED or loan.buffer is None or not loan.buffer.add(message):
            return []
        checkpoint = loan.buffer.checkpoint()
        if checkpoint is None:
            return []
        loan.state, loan.buffer = LoanState.ADOPTED, None
        adopt = Adopt(key, message.population, message.bundle, checkpoint)
        return [adopt, *self._say(loan, [self._reply(loan, "adopted")], now)]

    def _receive_as_owner(self, key: Key, loan: Loan, message: LoanMessage, now: float) -> list[Effect]:
        match message.kind, loan.state:
            case "refused", _:
                return self._over(key, Resume(loan.head.population, loan.checkpoint))
            case "adopted", _:
                if loan.state is LoanState.OFFERED:
                    loan.state = LoanState.LENT
                    return self._say(loan, [self._reply(loan, "confirmed")], now)
                return self._publish([self._reply(loan, "confirmed")])
            case "returned", LoanState.LENT | LoanState.RECALLED:
                return self._returned(key, loan, message)
            case _:
                return []

    def _receive_as_borrower(self, key: Key, loan: Loan, message: LoanMessage) -> list[Effect]:
        match message.kind, loan.state:
            case "confirmed", LoanState.ADOPTED:
                loan.state, loan.outgoing = LoanState.RUNNING, []
                return [Run(key)]
            case "recall", LoanState.RUNNING:
                return [GiveBack(key)]
            case "released", LoanState.ADOPTED | LoanState.RUNNING | LoanState.RETURNED:
                return self._over(key, Drop(key))
            case _:
                return []

    def _returned(self, key: Key, loan: Loan, message: LoanMessage) -> list[Effect]:
        if not genuine(message, self._keys.get(loan.with_whom)):
            raise PeerError(f"handover: beliefs from {loan.with_whom} without its signature")
        if loan.buffer is None or not loan.buffer.add(message):
            loan.buffer = BlockBuffer(message)
            loan.buffer.add(message)
        checkpoint = loan.buffer.checkpoint()
        if checkpoint is None:
            return []
        released = self._publish([self._reply(loan, "released")])
        return [*released, *self._over(key, Resume(loan.head.population, checkpoint))]

    def _over(self, key: Key, effect: Effect) -> list[Effect]:
        del self._loans[key]
        return [effect]

    def _reply(self, loan: Loan, kind: str) -> LoanMessage:
        head = loan.head
        return LoanMessage(kind, head.loan, head.owner, loan.with_whom, head.population, head.bundle)

    def _say(self, loan: Loan, outgoing: list[LoanMessage], now: float) -> list[Effect]:
        loan.outgoing, loan.said_at = outgoing, now
        return self._publish(outgoing)

    def _publish(self, outgoing: Iterable[LoanMessage]) -> list[Effect]:
        return [
            Publication(self.topics.handover, messages.encode(messages.Message(to_body(message))), qos=1)
            for message in outgoing
        ]
