CREATE DATABASE IF NOT EXISTS app;
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'app';
GRANT ALL ON app.* TO app@'%';
CREATE USER IF NOT EXISTS sqlproxy@'%' IDENTIFIED BY 'sqlproxy';
GRANT SELECT ON mysql.global_priv TO sqlproxy@'%';
