"""What a payer has to do survives being written down."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain import next_action
from services.gateway.domain.next_action import (
    CallSdk,
    NextAction,
    Redirect,
    ShowQr,
    SubmitForm,
    Wait,
)
from services.gateway.handlers import messages

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
ACTIONS: st.SearchStrategy[NextAction] = st.one_of(
    st.builds(ShowQr, content=TEXT),
    st.builds(Redirect, url=TEXT),
    st.builds(
        SubmitForm,
        url=TEXT,
        fields=st.lists(st.tuples(TEXT, TEXT)).map(tuple),
        charset=st.sampled_from(["UTF-8", "GBK"]),
    ),
    st.builds(CallSdk, parameters=st.dictionaries(TEXT, TEXT)),
    st.builds(Wait, poll_after_s=st.integers(0, 60)),
)


@given(ACTIONS)
def test_an_action_is_read_as_it_was_written(action: NextAction) -> None:
    assert next_action.restore(orjson.loads(orjson.dumps(action))) == action


@given(ACTIONS)
def test_a_merchant_is_told_which_action_it_is(action: NextAction) -> None:
    told = messages.next_action(action)
    expected = {
        ShowQr: "qr_content",
        Redirect: "redirect",
        SubmitForm: "form",
        CallSdk: "sdk_call",
        Wait: "wait",
    }
    assert told.WhichOneof("action") == expected[type(action)]


def test_a_forms_fields_keep_their_order_and_a_bridges_parameters_their_names() -> None:
    form = SubmitForm(url="https://bank.example", fields=(("b", "2"), ("a", "1"), ("b", "3")))
    told = messages.next_action(form).form
    assert [(field.name, field.value) for field in told.fields] == list(form.fields)
    assert told.charset == "UTF-8"
    bridge = messages.next_action(CallSdk(parameters={"paySign": "x", "package": "prepay_id=1"}))
    assert dict(bridge.sdk_call.parameters) == {"paySign": "x", "package": "prepay_id=1"}


def test_nothing_stays_nothing() -> None:
    assert next_action.restore(None) is None
