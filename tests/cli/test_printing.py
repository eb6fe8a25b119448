"""What the tables say: nothing that the broker told is left out of them."""

from __future__ import annotations

from pycmbs.cli import printing
from pycmbs.client import views

ROW = {
    "member": "oslo",
    "state": "sent",
    "attempts": 2,
    "why": "it is named",
    "reason": "no answer",
    "deadline": "09:30",
}
STEPS = [
    {"at": "09:00", "state": "pending"},
    {"at": "09:01", "state": "sent", "reason": "no answer"},
]
WARNING = "oslo is dead since 08:00: what is for them waits"


def test_a_ledger_has_a_column_for_whom_it_went_over_where_it_went_over_someone() -> None:
    """As rows say in ``via``; where all were reached directly there is nothing to say."""
    direct, relayed = views.row(ROW), views.row({**ROW, "member": "rome", "via": "paris"})
    assert printing.ledger([direct]).splitlines()[0].split() == ["MEMBER", "STATE", "TRIES", "WHY", "REASON"]
    titles, first, second = printing.ledger([direct, relayed]).splitlines()
    assert titles.split() == ["MEMBER", "STATE", "TRIES", "VIA", "WHY", "REASON"]
    assert first.split()[:4] == ["oslo", "sent", "2", "-"]
    assert second.split()[:4] == ["rome", "sent", "2", "paris"]


def test_a_history_has_a_line_for_each_step() -> None:
    """Of each recipient."""
    titles, first, second = printing.history([views.row({**ROW, "history": STEPS})]).splitlines()
    assert titles.split() == ["MEMBER", "AT", "STATE", "REASON"]
    assert first.split() == ["oslo", "09:00", "pending", "-"]
    assert second.split() == ["oslo", "09:01", "sent", "no", "answer"]


def test_what_keeps_a_message_from_some_is_said_below_its_ledger_and_a_dry_run() -> None:
    """As the broker says it; and nothing where there is nothing."""
    told = {"state": "sending", "deliveries": [ROW], "warning": WARNING}
    sent = views.sent("1", "l2", told)
    assert sent.warning == sent.document["warning"] == WARNING
    assert f"warning: {WARNING}" in printing.report(sent, "").splitlines()
    plan = views.plan("l2", {"recipients": [{"member": "oslo", "why": "all"}], "warning": WARNING})
    assert plan.warning == WARNING
    assert f"warning: {WARNING}" in printing.plan(plan).splitlines()
    assert "warning:" not in printing.report(views.sent("1", "l2", {**told, "warning": ""}), "")
