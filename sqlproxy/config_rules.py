"""The configuration of what operators allow: rules, and lists of the statements that may run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from sqlproxy.config_fields import Duration, Network, Section, as_list
from sqlproxy.patterns import Pattern
from sqlproxy.units import parse_address


class RuleConfig(Section):
    """``[[rules]]``: what happens to statements that match all of what is given; see ``routing.rules``."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    service: Annotated[list[str], BeforeValidator(as_list)] = []
    user: Annotated[list[str], BeforeValidator(as_list)] = []
    database: Annotated[list[str], BeforeValidator(as_list)] = []
    client: Annotated[list[Network], BeforeValidator(as_list)] = []
    digest: Annotated[list[Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{16}$")]], BeforeValidator(as_list)] = []
    pattern: str = ""
    match: Literal["digest", "statement"] = "digest"  # what the pattern is looked for in
    route: Annotated[str, Field(pattern=r"^(|primary|replica|server=.+|zone=.+)$")] = ""
    reject: str = ""
    rewrite: str | None = None
    timeout: Duration = 0.0
    max_rows: int = Field(default=0, ge=0)
    max_concurrent: int = Field(default=0, ge=0)
    mirror: str = ""
    cache: Duration = 0.0
    dry_run: bool = False
    stop: bool = True

    @model_validator(mode="after")
    def _can_be_done(self) -> RuleConfig:
        if ":" in self.mirror:
            parse_address(self.mirror)
        pattern = Pattern(self.pattern)
        if self.rewrite is not None:
            if not self.pattern or self.match != "statement":
                raise ValueError('rewrite: needs a pattern and match = "statement"')
            pattern.check_replacement(self.rewrite)
        return self


class AllowListConfig(Section):
    """``[services.allow_list]``: the statements that may run; see ``routing.allow_list``."""

    mode: Literal["off", "learn", "detect", "enforce"] = "off"
    file: str = ""  # one JSON object a line
    max_statements: int = Field(default=10_000, ge=1)  # lines of the file, each a statement and a user

    @model_validator(mode="after")
    def _has_a_file(self) -> AllowListConfig:
        if self.mode != "off" and not self.file:
            raise ValueError(f'mode = "{self.mode}" needs a file')
        return self
