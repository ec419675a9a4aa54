-- sysbench: connect, ask one thing, disconnect; over and over, with TLS where --mysql-ssl=on.

sysbench.cmdline.options = {
  table_size = {"rows of the table", 10000},
}

function thread_init()
  driver = sysbench.sql.driver()
end

function event()
  local connection = driver:connect()
  connection:query("SELECT c FROM sbtest1 WHERE id=42")
  connection:disconnect()
end
