-- The tables of a log in PostgreSQL: format F7 in docs/format.md.
-- {owner}, {writer}, {sequencer} and {reader} are role names.

CREATE SCHEMA jobaudit AUTHORIZATION {owner};
SET LOCAL ROLE {owner};

CREATE TABLE jobaudit.migrations (
	version       int PRIMARY KEY,
	min_writer    int NOT NULL, -- the oldest version of append that still works
	-- The oldest sequencer that fills all columns. A migration that raises it locks the
	-- row of lead first: each cycle asks under that lock.
	min_sequencer int NOT NULL,
	applied       timestamptz NOT NULL DEFAULT now()
);

-- Every event that was ever accepted: what makes an event stored once, and the
-- evidence that it was accepted.
CREATE TABLE jobaudit.ids (
	id   uuid PRIMARY KEY,
	hash bytea NOT NULL CHECK (octet_length(hash) = 32) -- RFC 6962 leaf hash
);

-- What is accepted and has no index yet, one row for each call of append.
-- n is an order within one snapshot and never a cursor: a smaller one may
-- become visible later.
CREATE TABLE jobaudit.inbox (
	n        bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,
	accepted timestamptz NOT NULL DEFAULT clock_timestamp(),
	writer   name NOT NULL DEFAULT session_user,
	ids      uuid[] NOT NULL,
	keys     uuid[] NOT NULL, -- the jobs, correlations and roots in it
	lines    bytea[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE jobaudit.inbox ALTER lines SET STORAGE EXTERNAL;
CREATE INDEX inbox_keys ON jobaudit.inbox USING gin (keys) WITH (fastupdate = off);

-- The log: event idx is leaf idx of the tree. The columns behind line are
-- filled by the sequencer from the line; they only make selections fast.
CREATE TABLE jobaudit.events (
	idx       bigint NOT NULL,
	id        uuid NOT NULL,
	writer    name NOT NULL,
	line      bytea NOT NULL,
	job       uuid,
	corr      uuid,
	root      uuid, -- NULL where it is the job itself
	principal text COLLATE "C",
	org       text COLLATE "C",
	action    text COLLATE "C",
	type      text COLLATE "C" NOT NULL,
	state     text COLLATE "C",
	resource  text COLLATE "C",
	error     text COLLATE "C",
	time      timestamptz NOT NULL,
	PRIMARY KEY (idx)
) PARTITION BY RANGE (idx);
CREATE INDEX ON jobaudit.events (job, idx);
CREATE INDEX ON jobaudit.events (corr, idx);
CREATE INDEX ON jobaudit.events (root, idx) WHERE root IS NOT NULL;
CREATE INDEX ON jobaudit.events (principal, idx);
CREATE INDEX ON jobaudit.events (org, idx);
CREATE INDEX ON jobaudit.events (org, action, idx);
CREATE INDEX ON jobaudit.events (action, idx);
CREATE INDEX ON jobaudit.events (type, idx);
CREATE INDEX ON jobaudit.events (state, idx);
CREATE INDEX ON jobaudit.events (resource, idx) WHERE resource IS NOT NULL;
CREATE INDEX ON jobaudit.events (error, idx) WHERE error IS NOT NULL;
-- In which blocks of events, and rows of 64 blocks, there is one of a period.
CREATE INDEX ON jobaudit.events ((idx >> 12), time);
CREATE INDEX ON jobaudit.events ((idx >> 18), time);

-- On whose behalf an event's principal acted, beside the principal itself.
CREATE TABLE jobaudit.acting (
	principal text COLLATE "C" NOT NULL,
	idx       bigint NOT NULL,
	PRIMARY KEY (principal, idx)
);
CREATE INDEX ON jobaudit.acting (idx);

-- Which event got which index. The primary key keeps an event from getting two.
CREATE TABLE jobaudit.sequence (
	id  uuid PRIMARY KEY,
	idx bigint NOT NULL
);

-- The signed heads as commit lines (format F6), each after the one of size prev.
CREATE TABLE jobaudit.commits (
	size bigint PRIMARY KEY,
	prev bigint NOT NULL UNIQUE,
	line bytea NOT NULL,
	at   timestamptz NOT NULL DEFAULT clock_timestamp(),
	CHECK (size > prev)
);

-- The tree's stored hashes, in x/mod's order: h begins with hash number first, and ends
-- with the last one of the same commit. Only rows that begin where a commit's do count. A
-- row that was found to be wrong is followed by one with the next n.
CREATE TABLE jobaudit.hashes (
	first bigint NOT NULL,
	n     int NOT NULL DEFAULT 0,
	h     bytea NOT NULL,
	PRIMARY KEY (first, n)
);
ALTER TABLE jobaudit.hashes ALTER h SET STORAGE EXTERNAL;

-- What was accepted and can have no index. Verification reports each row.
CREATE TABLE jobaudit.refused (
	n        bigint NOT NULL,
	position int NOT NULL,
	id       uuid NOT NULL,
	line     bytea NOT NULL,
	writer   name NOT NULL,
	reason   text NOT NULL,
	at       timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (n, position)
);
CREATE INDEX ON jobaudit.refused (id);

-- number_v1 numbers the rows of hashes: had the one who adds a row the choice, nothing
-- could follow the greatest number. Where there is such a row all the same, as somebody
-- left it whom no trigger stops, it adds none: the hashes are a cache, and the log goes on.
CREATE FUNCTION jobaudit.number_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	NEW.n := (SELECT CASE max(n) WHEN 2147483647 THEN NULL ELSE coalesce(max(n) + 1, 0) END
		FROM jobaudit.hashes WHERE first = NEW.first);
	RETURN CASE WHEN NEW.n IS NOT NULL THEN NEW END;
END $$;
CREATE TRIGGER numbers BEFORE INSERT ON jobaudit.hashes FOR EACH ROW EXECUTE FUNCTION jobaudit.number_v1();

-- Whoever holds this row's lock is the sequencer. It is never updated: locking
-- makes no new version of a row, so nothing piles up under a long transaction.
CREATE TABLE jobaudit.lead (one bool PRIMARY KEY CHECK (one));
INSERT INTO jobaudit.lead VALUES (true);

CREATE FUNCTION jobaudit.refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION 'jobaudit: % on %.% is refused: the log only grows', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
		USING ERRCODE = '42501';
END $$;

DO $$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['migrations', 'ids', 'events', 'acting', 'sequence', 'commits', 'hashes', 'refused', 'lead'] LOOP
		EXECUTE format('CREATE TRIGGER grows BEFORE UPDATE OR DELETE ON jobaudit.%I FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse()', t);
		EXECUTE format('CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.%I FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse()', t);
	END LOOP;
	-- The sequencer takes rows out of the inbox, and nobody changes them there.
	CREATE TRIGGER grows BEFORE UPDATE ON jobaudit.inbox FOR EACH ROW EXECUTE FUNCTION jobaudit.refuse();
	CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.inbox FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse();
END $$;

-- partition_v1 makes the partition for the events from 10,000,000 k on, and
-- reports whether it did. The triggers of rows are inherited, those of
-- TRUNCATE are not. It does not wait for long for the lock that it needs: all who
-- read would wait behind it. There is no partition far behind the log: a row of
-- ids takes more than 64 bytes.
CREATE FUNCTION jobaudit.partition_v1(k int) RETURNS bool
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
	name text := 'events_' || lpad(k::text, 5, '0');
BEGIN
	IF k < 0 OR k > 99999 OR k > 8 + pg_relation_size('jobaudit.ids') / 64 / 10000000 THEN
		RAISE EXCEPTION 'jobaudit: no partition %', k USING ERRCODE = '22023';
	END IF;
	IF to_regclass('jobaudit.' || name) IS NOT NULL THEN
		RETURN false;
	END IF;
	EXECUTE format('CREATE TABLE jobaudit.%I PARTITION OF jobaudit.events FOR VALUES FROM (%s) TO (%s)',
		name, k::bigint * 10000000, (k::bigint + 1) * 10000000);
	EXECUTE format('CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.%I FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse()', name);
	RETURN true;
END $$;
SELECT jobaudit.partition_v1(0), jobaudit.partition_v1(1);
-- Where an event goes if its partition was not made in time.
CREATE TABLE jobaudit.events_rest PARTITION OF jobaudit.events DEFAULT;
CREATE TRIGGER keeps BEFORE TRUNCATE ON jobaudit.events_rest FOR EACH STATEMENT EXECUTE FUNCTION jobaudit.refuse();

-- append_v1 accepts events: all that are new, or none. The IDs come in
-- ascending order, so that two callers with the same IDs cannot deadlock;
-- p_ord gives the place of each in the caller's order. It returns how many are
-- new. An ID that is stored with another hash is error JA001, and the message
-- ends with it; a call that breaks the limits is JA002.
CREATE FUNCTION jobaudit.append_v1(p_ids uuid[], p_lines bytea[], p_ord int[], p_keys uuid[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	asked int := cardinality(p_ids);
	got   uuid[];
	bad   uuid;
BEGIN
	IF asked IS NULL OR asked < 1 OR asked > 16384
		OR cardinality(p_lines) IS DISTINCT FROM asked OR cardinality(p_ord) IS DISTINCT FROM asked
		OR p_keys IS NULL OR cardinality(p_keys) > 3 * asked
		OR (SELECT sum(octet_length(l)) FROM unnest(p_lines) l) > 67108864
		OR (SELECT count(DISTINCT i) FROM unnest(p_ids) i) <> asked
		OR '00000000-0000-0000-0000-000000000000' = ANY (p_ids)
		OR EXISTS (SELECT FROM unnest(p_lines) l WHERE l IS NULL OR octet_length(l) NOT BETWEEN 1 AND 65535) THEN
		RAISE EXCEPTION 'jobaudit: an append takes 1 to 16384 events of different IDs, none of them zero, and 1 to 65535 bytes each, 64 MiB in all' USING ERRCODE = 'JA002';
	END IF;
	-- A committed event is on this server's disk, and on the standby's where
	-- one is synchronous, whatever the session says. Never lowered.
	IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
		PERFORM set_config('synchronous_commit', 'on', true);
	END IF;
	WITH new AS (
		SELECT t.id, t.line, t.ord, sha256(decode('00', 'hex') || t.line) AS hash
		FROM unnest(p_ids, p_lines, p_ord) t(id, line, ord)
	), stored AS (
		INSERT INTO jobaudit.ids (id, hash) SELECT id, hash FROM new ON CONFLICT (id) DO NOTHING RETURNING id
	), waiting AS (
		INSERT INTO jobaudit.inbox (ids, keys, lines)
		SELECT array_agg(new.id ORDER BY new.ord), p_keys, array_agg(new.line ORDER BY new.ord)
		FROM new JOIN stored ON stored.id = new.id HAVING count(*) > 0
	)
	SELECT array_agg(id) INTO got FROM stored;
	IF coalesce(cardinality(got), 0) < asked THEN
		-- A statement of its own: it sees what another transaction committed
		-- while the insert waited for it.
		SELECT t.id INTO bad FROM unnest(p_ids, p_lines) t(id, line)
		LEFT JOIN jobaudit.ids s ON s.id = t.id
		WHERE s.hash IS DISTINCT FROM sha256(decode('00', 'hex') || t.line) LIMIT 1;
		IF bad IS NOT NULL THEN
			RAISE EXCEPTION 'jobaudit: other bytes are stored under the ID %', bad USING ERRCODE = 'JA001';
		END IF;
		-- Something to flush: else a repeated call would be answered before
		-- the first one's record is durable on the standby.
		PERFORM pg_logical_emit_message(true, 'jobaudit', '');
	END IF;
	RETURN coalesce(cardinality(got), 0);
END $$;

-- waiting_v1 tells how far the sequencer is: the newest row of the inbox, how
-- long the oldest has waited, whether one up to p_upto waits, and the size of
-- the newest commit whose last event is there.
CREATE FUNCTION jobaudit.waiting_v1(p_upto bigint, OUT newest bigint, OUT oldest interval, OUT upto bool, OUT size bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	SELECT coalesce((SELECT max(n) FROM jobaudit.inbox), 0),
		coalesce((SELECT clock_timestamp() - accepted FROM jobaudit.inbox WHERE isfinite(accepted) ORDER BY n LIMIT 1), interval '0'),
		EXISTS (SELECT FROM jobaudit.inbox WHERE n <= p_upto)
	INTO newest, oldest, upto;
	FOR size IN SELECT c.size FROM jobaudit.commits c ORDER BY c.size DESC LOOP
		IF EXISTS (SELECT FROM jobaudit.events WHERE idx = size - 1) THEN
			RETURN;
		END IF;
	END LOOP;
	size := 0;
END $$;

-- settled_v1 returns those of the IDs that are in the log, those that were refused a
-- place there, and those that are nowhere although they were accepted. Only the bytes
-- that were accepted are refused: others say that those are gone. What waits is none of
-- these, also if it was refused before.
CREATE FUNCTION jobaudit.settled_v1(p_ids uuid[], OUT settled uuid[], OUT refused uuid[], OUT missing uuid[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	-- Joins: NOT IN would look through the inbox once for each ID when it is large.
	WITH found AS (
		SELECT a.id, s.id IS NOT NULL AS settled, EXISTS (SELECT FROM jobaudit.refused r JOIN jobaudit.ids i ON i.id = r.id
			WHERE r.id = a.id AND i.hash = sha256(decode('00', 'hex') || r.line)) AS refused
		FROM unnest(p_ids) a(id) LEFT JOIN jobaudit.sequence s ON s.id = a.id
	), waiting AS (
		SELECT DISTINCT unnest(ids) AS id FROM jobaudit.inbox WHERE EXISTS (SELECT FROM found WHERE NOT found.settled)
	)
	SELECT array_agg(found.id) FILTER (WHERE found.settled),
		array_agg(found.id) FILTER (WHERE found.refused AND NOT found.settled AND waiting.id IS NULL),
		array_agg(found.id) FILTER (WHERE NOT found.settled AND NOT found.refused AND waiting.id IS NULL)
	FROM found LEFT JOIN waiting ON waiting.id = found.id
$$;

-- restore_v1 accepts again what was accepted and is nowhere: its row of the
-- inbox was deleted by somebody whom no trigger stops. One at a time, so that
-- nothing is restored twice.
CREATE FUNCTION jobaudit.restore_v1(p_id uuid, p_line bytea, p_keys uuid[]) RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE gone uuid[];
BEGIN
	PERFORM pg_advisory_xact_lock(1785684577, 1);
	SELECT missing INTO gone FROM jobaudit.settled_v1(ARRAY[p_id]);
	IF gone IS NULL OR cardinality(p_keys) > 3
		OR NOT EXISTS (SELECT FROM jobaudit.ids WHERE id = p_id AND hash = sha256(decode('00', 'hex') || p_line)) THEN
		RETURN false;
	END IF;
	INSERT INTO jobaudit.inbox (ids, keys, lines) VALUES (ARRAY[p_id], p_keys, ARRAY[p_line]);
	RETURN true;
END $$;

-- compatible_v1 tells a writer the schema's version and the oldest version of
-- writers that it still takes.
CREATE FUNCTION jobaudit.compatible_v1(OUT version int, OUT min_writer int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT max(version), max(min_writer) FROM jobaudit.migrations
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA jobaudit FROM PUBLIC;

GRANT USAGE ON SCHEMA jobaudit TO {writer}, {sequencer}, {reader};
GRANT EXECUTE ON FUNCTION jobaudit.compatible_v1, jobaudit.waiting_v1 TO {writer}, {sequencer}, {reader};
GRANT EXECUTE ON FUNCTION jobaudit.append_v1, jobaudit.settled_v1, jobaudit.restore_v1 TO {writer};
GRANT SELECT ON ALL TABLES IN SCHEMA jobaudit TO {sequencer}, {reader};
GRANT INSERT ON jobaudit.events, jobaudit.acting, jobaudit.sequence, jobaudit.commits, jobaudit.hashes, jobaudit.refused TO {sequencer};
GRANT DELETE ON jobaudit.inbox TO {sequencer};
GRANT UPDATE (one) ON jobaudit.lead TO {sequencer}; -- to lock the row; the trigger refuses an update
GRANT EXECUTE ON FUNCTION jobaudit.partition_v1 TO {sequencer};

INSERT INTO jobaudit.migrations (version, min_writer, min_sequencer) VALUES (1, 1, 1);
-- For those who have no rights here: each migration writes its version.
COMMENT ON SCHEMA jobaudit IS 'job audit log, version 1';
