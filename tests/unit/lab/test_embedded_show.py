import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.embedded_show import show_to_select


@pytest.mark.parametrize(
    ("show", "parts"),
    [
        ("SHOW DATABASES", ["information_schema.SCHEMATA"]),
        ("SHOW TABLES", ["`Tables_in_app`", "TABLE_SCHEMA = 'app'"]),
        ("show full tables from `other` like 'a%'", ["WHERE `Tables_in_other` like 'a%'", "TABLE_SCHEMA = 'other'"]),
        (
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('a', 'b')",
            ["GLOBAL_STATUS", "WHERE Variable_name IN ('a', 'b')"],
        ),
        ("SHOW STATUS LIKE 'wsrep%'", ["WHERE `Variable_name` LIKE 'wsrep%'"]),
        ("SHOW VARIABLES", ["SESSION_VARIABLES"]),
        ("SHOW GLOBAL VARIABLES", ["GLOBAL_VARIABLES"]),
        ("SHOW COLUMNS FROM t FROM other", ["TABLE_SCHEMA = 'other' AND TABLE_NAME = 't'"]),
        ("SHOW INDEX FROM other.t", ["TABLE_SCHEMA = 'other' AND TABLE_NAME = 't'"]),
        ("SHOW TRIGGERS", ["WHERE 1 = 0"]),
    ],
)
def test_show_becomes_a_select(show: str, parts: list[str]) -> None:
    select = show_to_select(show, "app")
    assert all(part in select for part in parts), select


@pytest.mark.parametrize(("show", "code"), [("SHOW MASTER STATUS", 1235), ("SHOW", 1064), ("SHOW TABLES NOW", 1235)])
def test_unknown_shows_are_refused(show: str, code: int) -> None:
    with pytest.raises(ServerError) as refused:
        show_to_select(show, "app")
    assert refused.value.code == code
