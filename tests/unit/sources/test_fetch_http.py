import datetime
import functools
import hashlib
import ipaddress
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.web import Page, Site, serve

from forgeline.core.errors import DataError
from forgeline.sources import fetch_http as module
from forgeline.sources.fetch_http import download, pin_url, redirect_target
from forgeline.sources.fetch_params import HttpParams

fetch_http = functools.partial(module.fetch_http, copy=None)
BODY = random.Random(5).randbytes(3_000_000)
OTHER = random.Random(6).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def _no_waiting_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def site() -> Iterator[Site]:
    with serve({"/data/corpus.jsonl": Page(BODY)}) as running:
        yield running


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Where the file goes, and the scratch folder."""
    (tmp_path / "scratch").mkdir()
    return tmp_path / "out", tmp_path / "scratch"


def params(site: Site, path: str = "/data/corpus.jsonl", body: bytes = BODY, megabytes: float = 10.0) -> HttpParams:
    pinned = hashlib.sha256(body).hexdigest()
    return HttpParams(kind="http", url=site.url + path, sha256=pinned, max_megabytes=megabytes)


def part_of_it(scratch: Path, content: bytes, version: str | None) -> None:
    """What an attempt that was killed leaves."""
    (scratch / "partial").write_bytes(content)
    if version:
        (scratch / "version").write_text(version)


def asked_ranges(site: Site) -> list[str | None]:
    return [headers.get("Range") for _, headers in site.requests]


def refused(site: Site, folders: tuple[Path, Path], **changes: Any) -> str:
    """The message of a fetch that has to fail, leaving nothing in the folder."""
    folder, scratch = folders
    with pytest.raises(DataError) as error:
        fetch_http(params(site, **changes), folder, scratch)
    assert not folder.exists()
    return str(error.value)


def test_a_file_arrives_under_its_own_name(site: Site, folders: tuple[Path, Path]) -> None:
    folder, scratch = folders
    path = fetch_http(params(site), folder, scratch)
    assert path == folder / "corpus.jsonl"
    assert path.read_bytes() == BODY
    assert [entry.name for entry in folder.iterdir()] == ["corpus.jsonl"]
    assert asked_ranges(site) == [None]


def test_a_killed_download_goes_on_where_it_was(site: Site, folders: tuple[Path, Path]) -> None:
    folder, scratch = folders
    part_of_it(scratch, BODY[:1_000_000], '"1"')
    assert fetch_http(params(site), folder, scratch).read_bytes() == BODY
    assert asked_ranges(site) == ["bytes=1000000-"]
    assert site.num_bytes_sent == 2_000_000


def test_a_dropped_connection_is_resumed_at_once(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"].cut_after = [700_000, 800_000, 0]
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert asked_ranges(site) == [None, "bytes=700000-", "bytes=1500000-", "bytes=1500000-"]
    assert site.num_bytes_sent == len(BODY)


def test_without_ranges_it_starts_again(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"] = Page(BODY, ranges=False, cut_after=[700_000])
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert site.num_bytes_sent == 700_000 + len(BODY)


def test_a_file_that_changed_meanwhile_is_sent_whole(site: Site, folders: tuple[Path, Path]) -> None:
    part_of_it(folders[1], OTHER[:1_000_000], '"0"')
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert site.requests[0][1]["If-Range"] == '"0"'
    assert site.num_bytes_sent == len(BODY)


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_parts_of_two_versions_are_noticed_by_their_hash(
    site: Site, folders: tuple[Path, Path], etag: str | None
) -> None:
    """Without a version that a part can be asked of, the hash of the whole decides, and it is fetched once more."""
    site.pages["/data/corpus.jsonl"].etag = etag
    part_of_it(folders[1], OTHER[:1_000_000], None)
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert asked_ranges(site) == ["bytes=1000000-", None]


def test_a_part_longer_than_the_file_is_forgotten(site: Site, folders: tuple[Path, Path]) -> None:
    part_of_it(folders[1], OTHER + OTHER, '"1"')
    assert fetch_http(params(site), *folders).read_bytes() == BODY


def test_a_complete_part_needs_no_network(site: Site, folders: tuple[Path, Path]) -> None:
    part_of_it(folders[1], BODY, None)
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert site.requests == []


def test_a_copy_that_is_here_saves_the_download(site: Site, folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "cached").write_bytes(BODY)
    assert module.fetch_http(params(site), *folders, copy=tmp_path / "cached").read_bytes() == BODY
    assert (tmp_path / "cached").read_bytes() == BODY
    assert site.requests == []


def test_pinning_downloads_once_for_the_fetch_that_follows(site: Site, folders: tuple[Path, Path]) -> None:
    pinned = pin_url(site.url + "/data/corpus.jsonl", 10.0, folders[1])
    assert pinned == hashlib.sha256(BODY).hexdigest()
    assert fetch_http(params(site), *folders).read_bytes() == BODY
    assert len(site.requests) == 1


def test_a_packed_file_stays_packed(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/c.jsonl.gz"] = Page(BODY, headers={"Content-Encoding": "gzip"})
    assert fetch_http(params(site, path="/c.jsonl.gz"), *folders).read_bytes() == BODY
    assert site.requests[0][1]["Accept-Encoding"] == "identity"


def test_other_bytes_are_refused_and_leave_nothing(site: Site, folders: tuple[Path, Path]) -> None:
    message = refused(site, folders, body=OTHER)
    assert hashlib.sha256(BODY).hexdigest() in message
    assert hashlib.sha256(OTHER).hexdigest() in message
    assert list(folders[1].iterdir()) == []
    assert len(site.requests) == 1


def test_a_file_that_is_too_large_is_not_even_begun(site: Site, folders: tuple[Path, Path]) -> None:
    message = refused(site, folders, megabytes=2.5)
    assert "has 3.0 MB, beyond its max_megabytes 2.5" in message
    assert list(folders[1].iterdir()) == []


def test_a_file_of_unknown_size_is_cut_at_the_limit(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"] = Page(BODY, length=False, endless=True)
    assert "beyond its max_megabytes 4" in refused(site, folders, megabytes=4.0)
    assert list(folders[1].iterdir()) == []


def test_a_file_of_exactly_the_limit_is_taken(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"].length = False
    assert fetch_http(params(site, megabytes=3.0), *folders).read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "expected"),
    [(404, "404: nothing is there"), (401, "~/.netrc"), (403, "access is refused"), (400, "400: correct the URL")],
)
def test_an_answer_that_is_final(site: Site, folders: tuple[Path, Path], status: int, expected: str) -> None:
    site.pages["/data/corpus.jsonl"].status = status
    assert expected in refused(site, folders)
    assert len(site.requests) == 1


def test_a_server_that_is_busy_is_asked_again(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"].status = 503
    message = refused(site, folders)
    assert "the server answered 503: run again" in message
    assert len(site.requests) == 4


def test_a_server_that_always_drops_the_connection_is_given_up(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"] = Page(BODY, ranges=False, cut_after=[5_000] * 50)
    assert "the connection was cut: run again" in refused(site, folders)
    assert len(site.requests) == 4
    assert (folders[1] / "partial").stat().st_size == 5_000


def test_no_network(folders: tuple[Path, Path]) -> None:
    for url, reason in [
        ("https://nowhere.invalid/a/b.txt?x=1", "its host is not found"),
        ("http://127.0.0.1:9/a/b.txt", "the connection is refused"),
    ]:
        with pytest.raises(DataError) as error:
            download(url, 1.0, folders[1])
        assert reason in str(error.value)
        assert "dvc pull" in str(error.value)
        assert "x=1" not in str(error.value)


def test_redirects_are_followed(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/old/name.jsonl"] = Page(status=302, headers={"Location": "../data/corpus.jsonl?signed=canary"})
    path = fetch_http(params(site, path="/old/name.jsonl"), *folders)
    assert path.name == "name.jsonl"
    assert path.read_bytes() == BODY


def test_what_a_redirect_signed_is_not_told(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/old/name.jsonl"] = Page(status=302, headers={"Location": "/gone?signed=canary"})
    message = refused(site, folders, path="/old/name.jsonl")
    assert "404" in message
    assert "canary" not in message


def test_a_ring_of_redirects_is_left(site: Site, folders: tuple[Path, Path]) -> None:
    site.pages["/data/corpus.jsonl"] = Page(status=301, headers={"Location": "/data/corpus.jsonl"})
    assert "redirected more than 10 times" in refused(site, folders)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "", "https://[oops/x", "https://"])
def test_redirects_to_anything_else_are_refused(site: Site, folders: tuple[Path, Path], location: str) -> None:
    site.pages["/data/corpus.jsonl"] = Page(status=301, headers={"Location": location})
    assert "redirects to something that is no http(s) URL" in refused(site, folders)


def test_which_redirects_are_followed() -> None:
    assert redirect_target("http://a/x", "https://b/y") == "https://b/y"
    assert redirect_target("http://a/x", "http://b/y") == "http://b/y"
    assert redirect_target("https://a/x/", "z") == "https://a/x/z"
    assert redirect_target("https://a/x", "//b/y") == "https://b/y"
    with pytest.raises(DataError, match="redirects off https"):
        redirect_target("https://a/x", "http://a/x")


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for localhost that its own authority signs, with the key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "certificate.pem"
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    return path


def test_https_is_not_left_for_http(certificate: Path, site: Site, folders: tuple[Path, Path]) -> None:
    pages = {
        "/safe.jsonl": Page(BODY),
        "/x.jsonl": Page(status=302, headers={"Location": f"{site.url}/data/corpus.jsonl"}),
    }
    with serve(pages, certificate) as safe:
        assert fetch_http(params(safe, path="/safe.jsonl"), *folders).read_bytes() == BODY
        (folders[0] / "safe.jsonl").unlink()
        folders[0].rmdir()
        assert "redirects off https to http://localhost" in refused(safe, folders, path="/x.jsonl")
    assert site.requests == []


def test_a_certificate_must_be_trusted(
    certificate: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with serve({"/x.jsonl": Page(BODY)}, certificate) as safe:
        assert "certificate is not trusted" in refused(safe, folders, path="/x.jsonl")
    assert safe.requests == []


def test_a_login_comes_from_netrc_and_stays_on_its_host(
    site: Site, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login me password canary\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    elsewhere = f"{site.url.replace('localhost', '127.0.0.1')}/data/corpus.jsonl"
    site.pages["/first.jsonl"] = Page(status=302, headers={"Location": elsewhere})
    assert fetch_http(params(site, path="/first.jsonl"), *folders).read_bytes() == BODY
    assert [headers.get("Authorization") for _, headers in site.requests] == ["Basic bWU6Y2FuYXJ5", None]
