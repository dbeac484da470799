"""Section `clean`: what a document must be like to be learned from."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from forgeline.core.params import Section
from forgeline.text.normalize import NormalForm
from forgeline.text.pii import PiiParams
from forgeline.text.quality.params import QualityParams

DEFAULT_PROFILE = "default"
# In place of a source's language: it is found out for every document.
AUTO = "auto"

Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]


class SourceLanguage(Section):
    """Of section `ingest.sources.<name>`, the one key that cleaning depends on."""

    model_config = ConfigDict(extra="ignore")

    language: str


class CleanParams(Section):
    """Section `clean`. Everything is measured on the normalised text; `text/normalize.py` says what that is.

    Attributes:
        min_characters: Shorter documents are dropped as `too_short`.
        max_characters: Longer ones as `too_long`.
        unicode_repair: Decode mojibake ("Ã©" for "é") as it was meant.
        strip_urls: Take web addresses out of the text.
        strip_code: Take Markdown's fenced code blocks out of the text.
        languages: ISO 639 codes of the languages to keep; documents in others are dropped as `language`. null keeps
            all.
        min_language_score: From 0 to 1; a language that is less likely does not count as found. Documents of which
            none is found are dropped as `language` if `languages` are given.
        pii: Which personal data are masked, and by what.
        rules: Quality rules by language code; `default` is for every language that has none of its own.
    """

    min_characters: Annotated[int, Field(ge=1)]
    max_characters: Annotated[int, Field(ge=1)]
    unicode_repair: bool
    strip_urls: bool
    strip_code: bool
    languages: Annotated[list[Language], Field(min_length=1)] | None
    min_language_score: Annotated[float, Field(ge=0.0, le=1.0)]
    pii: PiiParams
    rules: dict[str, QualityParams]

    @model_validator(mode="after")
    def _range_of_lengths(self) -> "CleanParams":
        if self.min_characters > self.max_characters:
            raise ValueError("min_characters is above max_characters: no document could stay, lower it")
        return self

    @model_validator(mode="after")
    def _profiles(self) -> "CleanParams":
        if DEFAULT_PROFILE not in self.rules:
            raise ValueError(f"rules has no profile '{DEFAULT_PROFILE}': copy it from presets/default.yaml")
        for name in self.rules:
            if name != DEFAULT_PROFILE and not (name.isascii() and name.islower() and len(name) in (2, 3)):
                raise ValueError(f"rules.{name} is for no language: name profiles by ISO 639 codes, zh for instance")
        return self

    @property
    def normal_form(self) -> NormalForm:
        """What normalising is to do."""
        return NormalForm(self.unicode_repair, self.strip_urls, self.strip_code)

    def profile(self, language: str) -> str:
        """The name of the quality rules for documents in a language."""
        return language if language in self.rules else DEFAULT_PROFILE
