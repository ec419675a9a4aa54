"""Which built-in functions which servers lack: there a call of that name may be one of a stored function.

Compared with MariaDB 10.11.19 and MySQL 9.7, the neighbours by the servers' release notes. A generation is one bit of
the ``mode`` that texts are read with; names that are not listed are built in everywhere.
"""

from collections.abc import Iterable
from typing import Final

from sqlproxy.sql.bits import (
    MODE_MARIADB_10_6,
    MODE_MARIADB_10_11,
    MODE_MARIADB_11_8,
    MODE_MYSQL_8,
    MODE_MYSQL_9,
    MODE_SERVERS,
)

_MARIADB: Final = MODE_MARIADB_10_6 | MODE_MARIADB_10_11 | MODE_MARIADB_11_8
_MYSQL: Final = MODE_MYSQL_8 | MODE_MYSQL_9

_MARIADB_ONLY = """
add_months binlog_gtid_pos chr column_add column_check column_create column_delete column_exists column_get column_json
column_list concat_operator_oracle decode decode_histogram decode_oracle des_decrypt des_encrypt encode encrypt
json_compact json_detailed json_exists json_loose json_query lengthb lpad_oracle ltrim_oracle master_gtid_wait mbrequal
median nvl nvl2 old_password percentile_cont percentile_disc replace_oracle rownum rpad_oracle rtrim_oracle st_boundary
st_isring st_pointonsurface st_relate substr_oracle sys_guid to_char trim_oracle
"""

_MARIADB_10_11 = "crc32c json_equals json_normalize natural_sort_key sformat"

_MARIADB_11_8 = """
json_array_intersect json_key_value json_object_filter_keys json_object_to_array vec_distance vec_distance_cosine
vec_distance_euclidean vec_fromtext vec_totext
"""

_MYSQL_ONLY = """
any_value bin_to_uuid format_bytes geomcollection grouping gtid_subset gtid_subtract icu_version is_uuid
json_schema_validation_report json_storage_free json_storage_size mbrcoveredby mbrcovers regexp_like source_pos_wait
st_buffer_strategy st_collect st_frechetdistance st_geohash st_geomcollfromtxt st_hausdorffdistance st_isvalid
st_latfromgeohash st_latitude st_lineinterpolatepoint st_lineinterpolatepoints st_longfromgeohash st_longitude
st_makeenvelope st_numinteriorring st_pointatdistance st_pointfromgeohash st_simplify st_swapxy st_transform st_validate
statement_digest statement_digest_text uuid_to_bin validate_password_strength wait_for_executed_gtid_set
"""

_MYSQL_9 = "from_vector json_duality_object string_to_vector to_vector vector_dim vector_to_string"

_UNTIL_MYSQL_9 = "md5 sha sha1"

# Name to the generations that lack it.
LACKED_BY: Final = (
    dict.fromkeys(_MARIADB_ONLY.split(), _MYSQL)
    | dict.fromkeys(_MARIADB_10_11.split(), _MYSQL | MODE_MARIADB_10_6)
    | dict.fromkeys(_MARIADB_11_8.split(), _MYSQL | MODE_MARIADB_10_6 | MODE_MARIADB_10_11)
    | dict.fromkeys(_MYSQL_ONLY.split(), _MARIADB)
    | dict.fromkeys(_MYSQL_9.split(), _MARIADB | MODE_MYSQL_8)
    | dict.fromkeys(_UNTIL_MYSQL_9.split(), MODE_MYSQL_9)
    | {
        "lateral": _MARIADB,  # not followed by a derived table there
        "json_table": _MARIADB,  # a function there, except behind FROM and JOIN
        "format_pico_time": MODE_MARIADB_10_6 | MODE_MARIADB_10_11,
        "json_overlaps": MODE_MARIADB_10_6,
        "json_schema_valid": MODE_MARIADB_10_6 | MODE_MARIADB_10_11,
        "random_bytes": MODE_MARIADB_10_6,
    }
)

# From which version on a server belongs to a generation, newest first.
_SINCE_MARIADB: Final = (
    ((11, 8), MODE_MARIADB_11_8),
    ((10, 11), MODE_MARIADB_10_11),
    ((10, 6), MODE_MARIADB_10_6),
)
_SINCE_MYSQL: Final = (((9,), MODE_MYSQL_9), ((8,), MODE_MYSQL_8))


def generation_of(version: str) -> int:
    """The MODE_ bit of a server's version as its greeting gives it; MODE_SERVERS, the strictest, if it is not known."""
    numbers = []
    for part in version.removeprefix("5.5.5-").split("-")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    since = _SINCE_MARIADB if "mariadb" in version.lower() else _SINCE_MYSQL
    return next((bit for first, bit in since if tuple(numbers) >= first), MODE_SERVERS)


def generations_of(versions: Iterable[str]) -> int:
    """The MODE_ bits of several servers: a function has to be built in on all of them."""
    bits = 0
    for version in versions:
        bits |= generation_of(version)
    return bits or MODE_SERVERS
