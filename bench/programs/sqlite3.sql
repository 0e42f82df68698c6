CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150000)
INSERT INTO item SELECT i, 'item-' || (i * 7919 % 150000), i * 1.5, substr('the quick brown fox jumps over the lazy dog', 1 + i % 30) FROM n;
CREATE INDEX item_name ON item(name);
SELECT count(*), sum(price) FROM item WHERE name LIKE 'item-1%';
SELECT substr(name, 1, 7) AS part, count(*), avg(price), group_concat(id) FROM item GROUP BY part ORDER BY 2 DESC;
UPDATE item SET note = note || name WHERE id % 3 = 0;
SELECT a.name, b.note FROM item a JOIN item b ON a.name = 'item-' || b.id WHERE a.id < 60000 ORDER BY b.note LIMIT 1000;
DELETE FROM item WHERE id % 2 = 0;
VACUUM;
