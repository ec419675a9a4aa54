"""Which functions may run on a replica, and what calling the others means.

Holds all of ``information_schema.SQL_FUNCTIONS`` of MariaDB 10.11, what its grammar knows as keywords, and functions
of MariaDB 11 and MySQL 8 and 9. Which of them a server lacks is in ``sqlproxy.sql.generations``.
Left out are plain names that only old servers know and people give to stored functions
(DISTANCE, X, AREA, CONTAINS: MySQL 5.7; TO_DATE, TRUNC: MariaDB 12). A function that stands in neither table may
be stored or loadable and may write: it runs on the primary.

Known limit: MariaDB takes POINT for the built-in function with two arguments only, LINESTRING and its kind with one or
more, and JSON_TABLE only where a table may stand. With others it calls stored functions of these names, and here that
is taken for the built-in one: POINT(1), EXTRACT(YEAR FROM JSON_TABLE(1)).
"""

from typing import Final

from sqlproxy.sql.bits import (
    FOUND_ROWS,
    LAST,
    LAST_INSERT_ID,
    RELEASE_LOCK,
    USER_LOCK,
    WRITE,
)

_AGGREGATE = """
any_value avg bit_and bit_or bit_xor count group_concat grouping json_arrayagg json_objectagg max median min
percentile_cont percentile_disc std stddev stddev_pop stddev_samp sum var_pop var_samp variance st_collect
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""

_TEXT = """
ascii bin bit_length char char_length character_length chr concat concat_ws concat_operator_oracle elt export_set
field find_in_set format format_bytes format_pico_time from_base64 hex insert instr lcase left length lengthb locate
lower lpad ltrim make_set mid natural_sort_key oct octet_length ord position quote regexp_instr regexp_like
regexp_replace regexp_substr repeat replace reverse right rpad rtrim sformat soundex space strcmp substr substring
substring_index to_base64 to_char trim ucase unhex upper weight_string
decode_oracle lpad_oracle ltrim_oracle replace_oracle rpad_oracle rtrim_oracle substr_oracle trim_oracle
"""

_NUMERIC = """
abs acos asin atan atan2 bit_count ceil ceiling conv cos cot crc32 crc32c degrees exp floor ln log log10 log2 mod pi
pow power radians rand round sign sin sqrt tan truncate greatest least
"""

_TIME = """
add_months adddate addtime convert_tz curdate current_date current_time current_timestamp curtime date date_add
date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear extract from_days from_unixtime get_format
hour last_day localtime localtimestamp makedate maketime microsecond minute month monthname now period_add
period_diff quarter sec_to_time second str_to_date subdate subtime sysdate time time_format time_to_sec timediff
timestamp timestampadd timestampdiff to_days to_seconds unix_timestamp utc_date utc_time utc_timestamp week
weekday weekofyear year yearweek
"""

_CONTROL = """
benchmark cast coalesce coercibility collation convert current_role current_user database decode_histogram default if
ifnull interval is_uuid isnull name_const nullif nvl nvl2 row schema session_user sleep
sys_guid system_user user uuid uuid_short uuid_to_bin bin_to_uuid values version icu_version
binlog_gtid_pos gtid_subset gtid_subtract master_gtid_wait master_pos_wait
source_pos_wait wait_for_executed_gtid_set
"""

_CRYPTO = """
aes_decrypt aes_encrypt compress decode des_decrypt des_encrypt encode encrypt md5 old_password password random_bytes
sha sha1 sha2 statement_digest statement_digest_text rownum uncompress uncompressed_length validate_password_strength

"""

_DOCUMENT = """
column_add column_check column_create column_delete column_exists column_get column_json column_list extractvalue
json_array json_array_append json_array_insert json_array_intersect json_compact json_contains json_contains_path
json_depth json_detailed json_duality_object json_equals json_exists json_extract json_insert json_key_value
json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize json_object
json_object_filter_keys json_object_to_array json_overlaps json_pretty json_query json_quote json_remove json_replace
json_schema_valid json_schema_validation_report json_search json_set json_storage_free json_storage_size json_table
json_type json_unquote json_valid json_value updatexml
"""

_NETWORK_AND_VECTOR = """
inet6_aton inet6_ntoa inet_aton inet_ntoa is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6
string_to_vector to_vector from_vector vec_distance vec_distance_cosine vec_distance_euclidean vec_fromtext
vec_totext vector_dim vector_to_string
"""

_GEOMETRY = """
geometrycollection geomcollection linestring mbrcontains mbrcoveredby mbrcovers mbrdisjoint mbrequal mbrequals
mbrintersects mbroverlaps mbrtouches mbrwithin multilinestring multipoint multipolygon point polygon
st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_boundary st_buffer st_buffer_strategy st_centroid
st_contains st_convexhull st_crosses st_difference st_dimension st_disjoint st_distance st_distance_sphere
st_endpoint st_envelope st_equals st_exteriorring st_frechetdistance st_geohash st_geomcollfromtext st_geomcollfromtxt
st_geomcollfromwkb st_geometrycollectionfromtext st_geometrycollectionfromwkb st_geometryfromtext st_geometryfromwkb
st_geometryn st_geometrytype st_geomfromgeojson st_geomfromtext st_geomfromwkb st_hausdorffdistance st_interiorringn
st_intersection st_intersects st_isclosed st_isempty st_isring st_issimple st_isvalid st_latfromgeohash st_latitude
st_length st_linefromtext st_linefromwkb st_lineinterpolatepoint st_lineinterpolatepoints st_linestringfromtext
st_linestringfromwkb st_longfromgeohash st_longitude st_makeenvelope st_mlinefromtext st_mlinefromwkb
st_mpointfromtext st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_multilinestringfromtext
st_multilinestringfromwkb st_multipointfromtext st_multipointfromwkb st_multipolygonfromtext st_multipolygonfromwkb
st_numgeometries st_numinteriorring st_numinteriorrings st_numpoints st_overlaps st_pointatdistance st_pointfromgeohash
st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_polyfromtext st_polyfromwkb st_polygonfromtext
st_polygonfromwkb st_relate st_simplify st_srid st_startpoint st_swapxy st_symdifference st_touches st_transform
st_union st_validate st_within st_x st_y
"""

_ALL = " ".join((_AGGREGATE, _TEXT, _NUMERIC, _TIME, _CONTROL, _CRYPTO, _DOCUMENT, _NETWORK_AND_VECTOR, _GEOMETRY))

# Built-in functions that read nothing but their arguments, tables and the clock.
READ_ONLY: Final = frozenset(_ALL.split())

# Built-in functions with a meaning for routing, as the bits a call adds. Plain WRITE: the answer depends on the
# connection or the server it is asked on, so it stays the same on the primary.
SPECIAL: Final = {
    "found_rows": LAST | FOUND_ROWS,
    "row_count": LAST,
    "last_insert_id": WRITE | LAST_INSERT_ID,
    "get_lock": WRITE | USER_LOCK,
    "is_free_lock": WRITE,
    "is_used_lock": WRITE,
    "release_lock": WRITE | RELEASE_LOCK,
    "release_all_locks": WRITE | RELEASE_LOCK,
    "connection_id": WRITE,
    "ps_current_thread_id": WRITE,
    "ps_thread_id": WRITE,
    "load_file": WRITE,
    "nextval": WRITE,
    "currval": WRITE,
    "lastval": WRITE,
    "setval": WRITE,
    "wsrep_last_seen_gtid": WRITE,
    "wsrep_last_written_gtid": WRITE,
    "wsrep_sync_wait_upto_gtid": WRITE,
}

_NO_SPACE = """
adddate bit_and bit_or bit_xor cast count cume_dist curdate curtime date_add date_sub dense_rank extract first_value
group_concat json_arrayagg json_duality_object json_objectagg json_table lag lead max median mid min now nth_value
ntile percent_rank percentile_cont percentile_disc position rank session_user st_collect std stddev stddev_pop
stddev_samp subdate substr substring sum sysdate system_user trim trim_oracle variance var_pop var_samp
"""

# Known to the server only when "(" follows at once, unless IGNORE_SPACE (MySQL manual, "Function Name Parsing and
# Resolution"); with a blank in between a stored function of that name would be called. Window functions: MariaDB.
NO_SPACE: Final = frozenset(_NO_SPACE.split())

_BARE = """
current_date current_role current_time current_timestamp current_user localtime localtimestamp utc_date utc_time
utc_timestamp
"""

# Evaluated without parentheses: their value is not a literal.
BARE: Final = frozenset(_BARE.split())

# What reading @@name adds.
VARIABLES: Final = {
    "warning_count": LAST,
    "error_count": LAST,
    "last_insert_id": WRITE | LAST_INSERT_ID,
    "identity": WRITE | LAST_INSERT_ID,
    "insert_id": WRITE | LAST_INSERT_ID,
    "last_gtid": WRITE | LAST_INSERT_ID,
    "pseudo_thread_id": WRITE,
}

_PAREN_KEYWORDS = """
all and any as between bigint binary blob by case character dec decimal distinct distinctrow div double else except
exists float from group having high_priority in index int integer intersect into join key lateral like limit match
mediumint not numeric on or over partition real regexp rlike select set smallint some sql_big_result
sql_calc_found_rows sql_small_result straight_join then tinyint union unsigned using varbinary varchar when where
xor
"""

# Reserved words that "(" may follow without a call. Words that are not reserved could name a stored function.
PAREN_KEYWORDS: Final = frozenset(_PAREN_KEYWORDS.split())
