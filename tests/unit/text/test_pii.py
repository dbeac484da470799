# ruff: noqa: RUF001 - dashes and colons of many kinds stand in phone numbers
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from forgeline.text.buffers import as_buffers
from forgeline.text.kernels.pii import ANNOUNCED_PHONE, CARD, EMAIL, IP_V4, IP_V6, PHONE, find_candidates
from forgeline.text.pii import PiiParams, _luhn, mask, mask_texts

KINDS = {"email": "<EMAIL>", "ip_address": "<IP>", "phone_number": "<PHONE>", "card_number": "<CARD>"}


def params(*enabled: str, private_ranges: bool = False, **changed: Any) -> PiiParams:
    """Masks the named kinds, or all if none is named."""
    values: dict[str, dict[str, Any]] = {
        kind: {"enabled": kind in (enabled or KINDS), "replacement": replacement} for kind, replacement in KINDS.items()
    }
    values["ip_address"]["private_ranges"] = private_ranges
    for kind, replacement in changed.items():
        values[kind]["replacement"] = replacement
    return PiiParams.model_validate(values)


ALL = params()

PERSONAL = [
    ("email", "ann.lee+news@mail.example.co.uk"),
    ("email", "müller@example.de"),
    ("email", "x@y.io"),
    ("email", "a_b-c%d@ex-ample.museum"),
    ("ip_address", "8.8.8.8"),
    ("ip_address", "203.1.112.255"),
    ("ip_address", "2a00:1450:4001:82b::200e"),
    ("ip_address", "2001:4860:4860:0:0:0:0:8888"),
    ("phone_number", "+49 30 1234567"),
    ("phone_number", "+49 (0)30 / 123 45-67"),
    ("phone_number", "+15555550123"),
    ("phone_number", "+86 138 0013 8000"),
    ("phone_number", "+44 20 7946 0958"),
    ("phone_number", "+33\xa01\xa023\xa045\xa067\xa089"),
    ("phone_number", "0049 30 1234567"),
    ("phone_number", "(212) 555-0123"),
    ("phone_number", "212-555-0123"),
    ("phone_number", "1-800-555-0123"),
    ("phone_number", "212.555.0123"),
    ("phone_number", "020 7946 0958"),
    ("phone_number", "01 23 45 67 89"),
    ("phone_number", "(030) 123 4567"),
    ("phone_number", "0211/1234567"),
    ("phone_number", "03-1234-5678"),
    ("card_number", "4111 1111 1111 1111"),
    ("card_number", "4111-1111-1111-1111"),
    ("card_number", "5555555555554444"),
    ("card_number", "2221 0000 0000 0009"),
    ("card_number", "3782 822463 10005"),
    ("card_number", "6011111111111117"),
    ("card_number", "3056 9309 0259 04"),
    ("card_number", "6205 5000 0000 0000 004"),
]

HARMLESS = [
    "On 2021-03-04 at 10:30:45, or 04.03.2021 12:30, or 03/04/2021, or 01.02.2003 - 04.05.2006.",
    "From 01/2000 - 12/2006 and 1990-1995, then 2019-2020 2021-2022.",
    "ISBN 978-3-16-148410-0, ISBN-10: 0-306-40615-2, ISBN 03 0640 6152 1, ISSN 0317-8471.",
    "doi:10.1016/0092-8674(94)90545-2 and PMID 12345678901.",
    "Version 1.2.3.4, release 10.0.0.1, section 2.3.4.5, EC 3.1.1.11, v8.8.8.8 and 1.2.3.4.5.",
    "The number 3.14159265358979323846, 4111111111111112 and 1234567890123456.",
    "250 300 1200 4500 and 0 25 50 75 100 and 01 02 03 04 05 06 07.",
    "Cost: 1,234,567,890.00 or 12 345 678 901; the change was +1.23456789.",
    "IBAN DE89 3704 0044 0532 0130 00 and CAS 7732-18-5.",
    "std::vector<int> a; ab::cd::ef(); 12:30:45; ::1; 127.0.0.1; 10.0.0.1; 192.168.1.20; fe80::1; 2001:db8::1",
    "@media screen, user@localhost, @name, a@b, root@10, see foo@2.5GHz, me @ example.com",
    "999.999.999.999 and 256.1.1.1 and 1.2.3",
    "Call me at 5 or 6, phone 7. Mobile 2019-2020.",
    "1000000-150000=850000 and 93000-42000-3600 and 252000000-60000000",
    "15:32:07:01 ratio 2:1:3",
    "",
]


@pytest.mark.parametrize(("kind", "text"), PERSONAL)
@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("(", ")"), ("Reach me: ", ", please."), ("联系", "。"), ("\n", "\n")]
)
def test_personal_data_are_found(kind: str, text: str, before: str, after: str) -> None:
    masked, counts = mask(before + text + after, ALL)
    assert masked == before + KINDS[kind] + after
    assert counts == {kind: 1}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert mask(text, ALL) == (text, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Phone: 7035246686 Fax: 703 5246630", "Phone: <PHONE> Fax: <PHONE>"),
        ("电话：138 0013 8000", "电话：<PHONE>"),
        ("Tel. 555-0123 or tel (98765) 43210", "Tel. <PHONE> or tel <PHONE>"),
        ("MD 20892-3655 301-496-5248 E-mail: 2020@nei.example.gov", "MD 20892-3655 <PHONE> E-mail: <EMAIL>"),
        ("phone (1-800-332-1088).", "phone (<PHONE>)."),
        ("+49 30 1234567, 0211 1234567", "<PHONE>, <PHONE>"),
        ("4111 1111 1111 1111 12/25", "<CARD> 12/25"),
        ("4111 1111 1111 1111 123", "<CARD> 123"),
        ("mailto:ann@example.org?subject=x", "mailto:<EMAIL>?subject=x"),
        ("8.8.8.8:443 and 8.8.4.0/24", "<IP>:443 and <IP>/24"),
    ],
)
def test_in_context(text: str, expected: str) -> None:
    assert mask(text, ALL)[0] == expected


def test_a_kind_that_is_switched_off_stays() -> None:
    text = "ann@example.org 8.8.8.8 +49 30 1234567 4111 1111 1111 1111"
    assert mask(text, params("email")) == ("<EMAIL> 8.8.8.8 +49 30 1234567 4111 1111 1111 1111", {"email": 1})
    assert mask(text, params("ip_address"))[1] == {"ip_address": 1}
    assert mask(text, ALL)[0] == "<EMAIL> <IP> <PHONE> <CARD>"
    nothing = PiiParams.model_validate({kind: {**part, "enabled": False} for kind, part in ALL.model_dump().items()})
    assert mask(text, nothing) == (text, {})
    assert mask_texts(pa.array([text]), nothing).counts == {}


def test_private_networks_are_masked_on_request() -> None:
    text = "10.0.0.1 192.168.1.20 fd12:3456::1 127.0.0.1 ::1"
    assert mask(text, params(private_ranges=True))[0] == "<IP> <IP> <IP> 127.0.0.1 ::1"


def test_counts_and_columns() -> None:
    texts = pa.array(["ann@example.org, ben@example.org", "nothing", "8.8.8.8", ""])
    masked = mask_texts(texts, ALL)
    assert masked.texts.to_pylist() == ["<EMAIL>, <EMAIL>", "nothing", "<IP>", ""]
    assert masked.counts == {"email": 2, "ip_address": 1, "phone_number": 0, "card_number": 0}


def test_texts_without_any_are_not_copied() -> None:
    texts = pa.array(HARMLESS)
    assert mask_texts(texts, ALL).texts is texts


@pytest.mark.parametrize("replacement", ["ann@example.org", "call 1", "a:b", "two\nlines"])
def test_a_replacement_that_could_be_found_again_is_refused(replacement: str) -> None:
    with pytest.raises(ValidationError, match=r"email\.replacement"):
        params(email=replacement)


PIECES = st.one_of(
    st.sampled_from([text for _, text in PERSONAL]),
    st.sampled_from(HARMLESS),
    st.text("0123456789 .-/()+:@abf", max_size=25),
    st.sampled_from(["phone ", "Fax:", "tél. ", "电话", "тел. ", "mobile number is ", "cell"]),
    st.text(max_size=10),
)
TEXTS = st.lists(PIECES, max_size=6).map(" ".join) | st.lists(PIECES, max_size=4).map("".join)


@settings(max_examples=500)
@given(TEXTS)
def test_masking_twice_finds_nothing_more(text: str) -> None:
    once, counts = mask(text, ALL)
    assert mask(once, ALL) == (once, {})
    assert (once == text) == (not counts)
    assert sum(once.count(replacement) for replacement in KINDS.values()) >= counts.total()


@settings(max_examples=300)
@given(st.lists(TEXTS, max_size=5))
def test_the_kernel_hides_nothing_from_the_patterns(texts: list[str]) -> None:
    masked = mask_texts(pa.array(texts, pa.string()), ALL)
    assert masked.texts.to_pylist() == [mask(text, ALL)[0] for text in texts]
    assert sum(masked.counts.values()) == sum(mask(text, ALL)[1].total() for text in texts)


@given(st.text(st.characters(exclude_categories=("Cs", "Nd"), exclude_characters="@:")))
def test_text_without_digits_and_signs_is_never_changed(text: str) -> None:
    assert mask(text, ALL) == (text, {})


@given(st.ip_addresses())
def test_every_public_address_is_found(address: IPv4Address | IPv6Address) -> None:
    assume(address.is_global and not address.is_multicast)
    assume(address.version == 4 or address.packed[0] >> 5 == 1)
    assert mask(f"from {address} on", params("ip_address"))[0] == "from <IP> on"


@given(st.integers(0, 10**14 - 1), st.sampled_from(["", " ", "-"]))
def test_exactly_the_right_check_digit_is_masked(number: int, separator: str) -> None:
    start = f"4{number:014d}"
    masked = []
    for check in "0123456789":
        digits = start + check
        text = separator.join(digits[i : i + 4] for i in range(0, 16, 4))
        masked.append(mask(text, params("card_number"))[0] == "<CARD>")
        assert masked[-1] == _luhn(digits)
    assert sum(masked) == 1


def test_luhn_by_hand() -> None:
    assert _luhn("79927398713")  # the example of ISO/IEC 7812-1's predecessor
    assert not _luhn("79927398710")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@b", EMAIL),
        ("1.2.3.4", IP_V4),
        ("a::b", IP_V6),
        ("1:2:3:4:5:6:7:8", IP_V6),
        ("12 34-56.7", 0),
        ("tel 12 34-56.7", ANNOUNCED_PHONE),
        ("212-555-0123", PHONE),
        ("+49 30123", 0),
        ("7 +49 30 12345", PHONE),
        ("030 12345", 0),
        ("030 123456", PHONE),
        ("12电话1234567", ANNOUNCED_PHONE),
        ("1234567890123", PHONE | CARD),
        ("plain 12 text", 0),
        ("1,234,567,890", 0),
        ("@-@ @name a@", 0),
        ("", 0),
    ],
)
def test_candidates_by_hand(text: str, expected: int) -> None:
    assert find_candidates(*as_buffers(pa.array(["x", text, "x"]))).tolist() == [0, expected, 0]


@pytest.mark.parametrize(
    "text", ["a" * 200_000, "1 " * 100_000, "a." * 100_000 + "@", "1:" * 100_000, "(" * 200_000, "+1" * 100_000]
)
def test_long_runs_take_no_long_time(text: str) -> None:
    """Quadratic patterns would take minutes: the time limit of the test is the assertion."""
    mask(text, ALL)
    mask_texts(pa.array([text]), ALL)
