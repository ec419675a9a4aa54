"""ProxySQL's file and statements, table by table."""

from __future__ import annotations

import pytest

from .samples import Result, line_of, sample

SERVERS = (
    'mysql_servers=( { address="10.0.0.1" port=3306 hostgroup=10 }, { address="10.0.0.2" port=3306 hostgroup=30 } )\n'
)
GALERA = (
    "mysql_galera_hostgroups=( { writer_hostgroup=10 backup_writer_hostgroup=20 reader_hostgroup=30 active=1 %s } )\n"
)


def note(result: Result, start: str) -> str:
    return next(text for text in result.notes if text.startswith(start))


def variables(*lines: str, more: str = "") -> Result:
    return Result("mysql_variables={\n" + "\n".join(lines) + "\n}\n" + SERVERS + GALERA % "" + more)


def rule(columns: str) -> Result:
    return Result(
        SERVERS + GALERA % "" + f"mysql_query_rules=( {{ rule_id=5 active=1 {columns} destination_hostgroup=30 }} )\n"
    )


def test_the_file_keeps_servers_roles_and_ports() -> None:
    result = sample("proxysql.cnf")
    assert [server["address"] for server in result.data["servers"]] == [
        "10.0.0.11:3306",
        "10.0.0.12:3306",
        "10.0.0.13:3306",
    ]
    assert [server["priority"] for server in result.data["servers"]] == [1, 2, 3]  # the heaviest writer first
    assert [server["weight"] for server in result.data["servers"]] == [100, 5, 1]  # a reader's weight counts for reads
    assert result.server("10.0.0.13")["tls"] == {"mode": "required"}
    assert result.data["workers"] == 4
    assert result.data["monitor"]["topology"] == "galera"
    assert result.data["monitor"]["password"] == "monitor"  # two strings side by side are one
    assert result.data["monitor"]["interval"] == "2s"
    service = result.service("app")
    assert service["listen"] == ["0.0.0.0:6033", "unix:/tmp/proxysql.sock"]
    assert service["primary_accepts_reads"] is True


def test_the_dump_keeps_servers_roles_and_ports() -> None:
    result = sample("proxysql.sql")
    assert [server["name"] for server in result.data["servers"]] == ["db1", "db2.example"]
    assert result.data["monitor"] == {"topology": "static", "user": "mon", "password": "pw"}
    assert result.service("app")["listen"] == ["0.0.0.0:3306"]
    assert any("that is not read_only" in text for text in result.notes)
    assert "OFFLINE_SOFT" in note(result, "mysql_servers db2.example")


def test_notes_name_the_lines_of_the_original() -> None:
    result = sample("proxysql.cnf")
    lost, needless = dict(result.lost), dict(result.needless)
    assert result.data["rules"] == [
        {
            "name": "rule-3",
            "pattern": "^SELECT .* FROM prices",
            "match": "statement",
            "cache": "5s",
            "route": "replica",
        }
    ]
    assert "readwritesplit reads every statement" in needless[line_of("proxysql.cnf", "rule_id=2")]
    assert lost[line_of("proxysql.cnf", "admin_credentials")].startswith("admin-admin_credentials=***")


FULL_ROW = "(0,'10.0.0.%d',3306,0,'ONLINE',1,0,1000,0,0,0,NULL)"
FIRST_VERSIONS_ROW = "(0,'10.0.0.%d',3306,'ONLINE',1,0,1000,0,0,0,'')"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO mysql_servers (hostgroup_id,hostname,port) VALUES (0,'10.0.0.1',3306),(1,'10.0.0.2',3306);",
        "insert into `main`.`mysql_servers` (`hostname`, hostgroup_id) values ('10.0.0.1',0),(\"10.0.0.2\",1)",
        f"REPLACE INTO mysql_servers VALUES {FULL_ROW % 1}, {FULL_ROW % 2}",
        "".join(f"INSERT INTO mysql_servers VALUES {FIRST_VERSIONS_ROW % number};\n" for number in (1, 2)),
    ],
)
def test_ways_to_write_rows(statement: str) -> None:
    assert [server["address"] for server in Result(statement).data["servers"]] == ["10.0.0.1:3306", "10.0.0.2:3306"]


def test_a_dump_says_itself_what_its_columns_are() -> None:
    create = (
        "CREATE TABLE mysql_servers (weight INT CHECK (weight >= 0 AND weight <=10000) NOT NULL, hostname VARCHAR);"
    )
    result = Result(f"{create}\nINSERT INTO mysql_servers VALUES (7,'10.0.0.1');\n")
    assert result.server("10.0.0.1") == {"name": "10.0.0.1", "address": "10.0.0.1:3306", "weight": 7}


@pytest.mark.parametrize(
    "statement",
    [
        "SET mysql-max_connections=700;",
        "set mysql-max_connections = '700';",
        "UPDATE global_variables SET variable_value='700' WHERE variable_name='mysql-max_connections';",
        "REPLACE INTO global_variables (variable_name, variable_value) VALUES ('mysql-max_connections', '700');",
    ],
)
def test_ways_to_set_a_variable(statement: str) -> None:
    result = Result(f"{statement}\nINSERT INTO mysql_servers (hostname) VALUES ('10.0.0.1');\n")
    assert result.service("app")["max_connections"] == 700


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("max_allowed_packet=67108864", "max_allowed_packet", 67108864),
        ("connect_timeout_server=3000", "connect_timeout", "3s"),
        ("connect_timeout_server_max=10000", "failover_timeout", "10s"),
        ("ping_interval_server_msec=120000", "connection_keepalive", "120s"),
        ('proxy_protocol_networks="10.0.0.0/8"', "proxy_protocol_networks", ["10.0.0.0/8"]),
    ],
)
def test_variables_of_the_service(line: str, key: str, value: object) -> None:
    assert variables(line).service("app")[key] == value


def test_timing_of_the_other_topology_says_nothing() -> None:
    both = ("monitor_galera_healthcheck_interval=2000", "monitor_read_only_interval=1500")
    assert variables(*both).data["monitor"]["interval"] == "2s"


def test_a_scheduled_checker_tells_of_galera() -> None:
    scheduler = 'scheduler=( { id=1 interval_ms=5000 filename="/usr/bin/proxysql_galera_checker" } )\n'
    assert Result(SERVERS + scheduler).data["monitor"]["topology"] == "galera"


@pytest.mark.parametrize("pattern", ["^SELECT", "^SELECT.*FOR UPDATE$", "(?i)^select .*", "^(SELECT|SHOW)", ".*"])
def test_the_usual_split_needs_no_rules(pattern: str) -> None:
    result = rule(f'match_digest="{pattern}"')
    assert "readwritesplit reads every statement" in "".join(text for _, text in result.needless)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ('match_pattern="FROM archive"', {"pattern": "FROM archive", "match": "statement"}),
        ('match_digest="FROM archive" apply=1', {"pattern": "FROM archive", "stop": None}),
        ('username="report"', {"user": ["report"]}),
        ('schemaname="shop" client_addr="10.0.0.9"', {"database": ["shop"], "client": ["10.0.0.9"]}),
        ('match_digest="^SELECT" cache_ttl=1500', {"pattern": "^SELECT", "cache": "1500ms"}),
        ('match_digest="^SELECT" timeout=30000', {"timeout": "30s"}),
        ('match_digest="^SELECT" mirror_hostgroup=30', {"mirror": "10.0.0.2"}),
        ('match_pattern="old_" replace_pattern="new_"', {"rewrite": "new_", "match": "statement"}),
        ('match_digest="^DROP" error_msg="not here"', {"reject": "not here"}),
    ],
)
def test_other_rules_become_ours(columns: str, expected: dict[str, object]) -> None:
    (made,) = rule(columns).data["rules"]
    assert (made["name"], made["route"]) == ("rule-5", "replica")
    assert {key: made.get(key) for key in expected} == expected
    assert made.get("stop", True) is ("apply=1" in columns)


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        ("proxy_port=6034", "[[services]] table for the port"),
        ('digest="0xABC"', "digests are computed differently"),
        ('match_digest="x" negate_match_pattern=1', "cannot be negated"),
        ('match_digest="x" flagOUT=3', "not chained"),
        ('match_digest="x" OK_msg="fine"', "not answered by the proxy"),
        ('match_digest="x" delay=5', "not slowed down"),
        ('match_digest="(?=look)ahead"', "does not make a rule"),
    ],
)
def test_rules_that_cannot_be_ours_are_named_with_what_to_do_instead(columns: str, advice: str) -> None:
    result = rule(columns)
    assert "rules" not in result.data
    assert advice in note(result, "mysql_query_rules 5")


def test_hostgroups_of_neither_kind_name_their_only_server() -> None:
    extra = (
        'mysql_servers=( { address="10.0.0.1" hostgroup=10 }, { address="10.0.0.9" comment="olap" hostgroup=50 } )\n'
    )
    rules = 'mysql_query_rules=( { rule_id=1 active=1 username="x" destination_hostgroup=%d } )\n'
    assert Result(extra + GALERA % "" + rules % 50).data["rules"][0]["route"] == "server=olap"
    unknown = Result(extra + GALERA % "" + rules % 60)
    assert "neither of writers nor of readers" in note(unknown, "mysql_query_rules 1:  destination_hostgroup=60")


@pytest.mark.parametrize(
    ("columns", "expected"), [("max_writers=2", "max_writers=2"), ("max_transactions_behind=9", "max_tr")]
)
def test_hostgroup_settings_without_equivalent_are_named(columns: str, expected: str) -> None:
    assert note(Result(SERVERS + GALERA % columns), expected)


def test_users_keep_their_passwords_where_they_are() -> None:
    users = 'mysql_users=( { username="app" password="topsecret" default_hostgroup=10 max_connections=50 } )\n'
    result = Result(SERVERS + GALERA % "" + users)
    assert "topsecret" not in result.text
    assert "MAX_USER_CONNECTIONS" in note(result, "mysql_users app max_connections")


def test_comments_and_separators_of_libconfig() -> None:
    text = '/* two\nlines */ mysql_servers : ( { hostname : "10.0.0.1"; port : 3306; } /* x */ , # y\n ) ; // z\n'
    assert Result(text).server("10.0.0.1")["address"] == "10.0.0.1:3306"


def test_nested_values_are_read_over() -> None:
    assert Result('mysql_servers=( { hostname="10.0.0.1" comment=["a","b"] } )\nx={ y=( 1, { z=2 } ) }\n').data[
        "servers"
    ]


def test_a_replication_group_is_told_what_is_not_watched() -> None:
    columns = "writer_hostgroup=10 backup_writer_hostgroup=20 reader_hostgroup=30 active=1 max_transactions_behind=100"
    result = Result(SERVERS + f"mysql_group_replication_hostgroups=( {{ {columns} }} )\n")
    assert result.data["monitor"]["topology"] == "static"
    told = [text for text in result.notes if text.startswith("mysql_group_replication_hostgroups")]
    for word in ("secondaries are", "in a minority"):
        assert len([text for text in told if word in text]) == 1
    assert "not measured" in note(result, "max_transactions_behind=100")
