"""The reserved words of MySQL 8.4 and MariaDB 10.11: never names unless quoted, so digests may change their case.

Only digests use them, for letter case; the list has not been compared with the servers' own.
"""

from typing import Final

_WORDS = """
accessible add all alter analyze and as asc asensitive before between bigint binary blob both by call cascade case
change char character check collate column condition constraint continue convert create cross current_date
current_role current_time current_timestamp current_user cursor database databases day_hour day_microsecond day_minute
day_second dec decimal declare default delayed delete desc describe deterministic distinct distinctrow div double drop
dual each else elseif enclosed escaped except exists exit explain false fetch float for force foreign from fulltext
generated get grant group grouping groups having high_priority hour_microsecond hour_minute hour_second if ignore in
index infile inner inout insensitive insert int integer intersect interval into is iterate join json_table key keys
kill lateral leading leave left like limit linear lines load localtime localtimestamp lock long longblob longtext loop
low_priority match maxvalue mediumblob mediumint mediumtext minute_microsecond minute_second mod modifies natural not
no_write_to_binlog null numeric of offset on optimize option optionally or order out outer outfile over partition
precision primary procedure purge range read reads read_write real recursive references regexp release rename repeat
replace require resignal restrict return returning revoke right rlike row_number rows schema schemas
second_microsecond select sensitive separator set show signal smallint spatial specific sql sqlexception sqlstate
sqlwarning sql_big_result sql_calc_found_rows sql_small_result ssl starting straight_join table terminated then
tinyblob tinyint tinytext to trailing trigger true undo union unique unlock unsigned update usage use using utc_date
utc_time utc_timestamp values varbinary varchar varying when where while window with write xor year_month zerofill
"""

RESERVED: Final = frozenset(_WORDS.split())
