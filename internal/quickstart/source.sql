-- What the source holds beside the tables of "pgbench -i".

CREATE FUNCTION public.touch() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
	NEW.updated_at := pg_catalog.clock_timestamp();
	RETURN NEW;
END $$;

-- pgbench's accounts do not say when they changed. Tables that are worth
-- replicating by a key do, as this one does from here on.
ALTER TABLE public.pgbench_accounts ADD COLUMN updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp();
CREATE INDEX ON public.pgbench_accounts (updated_at);
CREATE TRIGGER touch BEFORE UPDATE ON public.pgbench_accounts FOR EACH ROW EXECUTE PROCEDURE public.touch();

CREATE SCHEMA shop;

CREATE TABLE shop.customers (
	id int PRIMARY KEY,
	name text NOT NULL,
	profile jsonb NOT NULL,
	tags text[] NOT NULL,
	credit numeric(12, 2) NOT NULL,
	factor numeric
);

INSERT INTO shop.customers
SELECT n,
	(ARRAY['Ada', 'Björk', '千尋', 'O''Neill', 'Zoë "Z"'])[1 + n % 5] || ' ' || n,
	pg_catalog.jsonb_build_object('language', (ARRAY['de', 'en', 'ja'])[1 + n % 3], 'score', n % 100 / 3.0,
		'address', CASE WHEN n % 4 > 0 THEN pg_catalog.jsonb_build_object('zip', pg_catalog.lpad(n::pg_catalog.text, 5, '0'), 'lines', pg_catalog.jsonb_build_array('Main Street ' || n, NULL)) END),
	CASE WHEN n % 7 = 0 THEN '{}' ELSE ARRAY['tag ' || n % 9, NULL, 'a "quoted", tag'] END,
	n * 1.37 - 1000,
	CASE n % 1000 WHEN 1 THEN 'NaN' WHEN 2 THEN 1e-40 WHEN 3 THEN 12345678901234567890123456789.5 ELSE n / 7.0 END
FROM pg_catalog.generate_series(1, 2000) AS n;

CREATE TYPE shop.order_status AS ENUM ('new', 'paid', 'shipped');

CREATE TABLE shop.orders (
	id int PRIMARY KEY,
	customer_id int NOT NULL REFERENCES shop.customers,
	status shop.order_status NOT NULL,
	items jsonb NOT NULL,
	discounts numeric[] NOT NULL,
	total numeric(12, 2) NOT NULL,
	card_number text NOT NULL,
	updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

INSERT INTO shop.orders
SELECT n, 1 + n % 1990,
	(CASE WHEN n % 10 = 0 THEN 'new' WHEN n % 10 = 1 THEN 'paid' ELSE 'shipped' END)::shop.order_status,
	pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('article', n % 300, 'count', 1 + n % 4)),
	ARRAY[n % 5, NULL, n % 3 / 10.0],
	n % 1000 * 1.19,
	pg_catalog.lpad(n::pg_catalog.text, 16, '4'),
	pg_catalog.timestamptz '2025-01-01 00:00+00' + n * interval '5 minutes 0.000001 seconds'
FROM pg_catalog.generate_series(1, 100000) AS n;

CREATE INDEX ON shop.orders (updated_at);
CREATE TRIGGER touch BEFORE UPDATE ON shop.orders FOR EACH ROW EXECUTE PROCEDURE public.touch();

CREATE SEQUENCE shop.order_event_ids;

CREATE TABLE shop.order_events (
	id bigint NOT NULL DEFAULT pg_catalog.nextval('shop.order_event_ids'),
	happened_at timestamptz NOT NULL,
	order_id int NOT NULL,
	what text NOT NULL,
	PRIMARY KEY (id, happened_at)
) PARTITION BY RANGE (happened_at);

CREATE TABLE shop.order_events_2025_1 PARTITION OF shop.order_events FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
CREATE TABLE shop.order_events_2025_2 PARTITION OF shop.order_events FOR VALUES FROM ('2025-07-01') TO ('2026-01-01');
CREATE TABLE shop.order_events_later PARTITION OF shop.order_events DEFAULT;

INSERT INTO shop.order_events (happened_at, order_id, what)
SELECT o.updated_at + k * interval '1 minute', o.id, (ARRAY['ordered', 'packed'])[k]
FROM shop.orders AS o, pg_catalog.generate_series(1, 2) AS k
ORDER BY o.id, k;

CREATE VIEW shop.open_orders AS
SELECT o.id, o.status, o.total, o.updated_at, c.name AS customer, c.tags
FROM shop.orders AS o
JOIN shop.customers AS c ON c.id = o.customer_id
WHERE o.status <> 'shipped';
