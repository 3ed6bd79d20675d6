package pgsink

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// schemaVersion is the newest version of the tables that this code knows,
// writerVersion the version of append that it calls, and sequencerVersion that of
// what its sequencer fills in.
const (
	schemaVersion    = 1
	writerVersion    = 1
	sequencerVersion = 1
)

//go:embed migrations/*.sql
var migrations embed.FS

// MigrateOptions adjust [Migrate] and [MigrationSQL]. The zero value, like nil,
// gives the defaults.
type MigrateOptions struct {
	// RolePrefix begins the names of the four roles. Default: "jobaudit", for
	// jobaudit_owner, jobaudit_writer, jobaudit_sequencer and jobaudit_reader.
	// Roles belong to the whole server: databases whose writers may not write
	// to each other's logs take different prefixes.
	RolePrefix string

	wait time.Duration // of tests, in place of migrateWait
}

// migrateWait is how long Migrate waits for another one.
const migrateWait = 10 * time.Minute

func (o *MigrateOptions) waits() string {
	if o == nil || o.wait <= 0 {
		return milliseconds(migrateWait)
	}
	return milliseconds(o.wait)
}

func (o *MigrateOptions) prefix() string {
	if o == nil || o.RolePrefix == "" {
		return "jobaudit"
	}
	return o.RolePrefix
}

// Migrate makes the schema jobaudit and its roles in the database, or brings
// them to the newest version. It may be called by many processes at once and
// again later; what is there already stays. The connection needs the rights to
// create roles and schemas, of a superuser or not, and none where the tables are the
// newest. [Open] never migrates: the roles of writers cannot.
func Migrate(ctx context.Context, conn *pgx.Conn, opts *MigrateOptions) error {
	if err := migrate(ctx, conn, opts); err != nil {
		return fmt.Errorf("migrate the audit log's tables: %w", err)
	}
	return nil
}

func migrate(ctx context.Context, conn *pgx.Conn, opts *MigrateOptions) error {
	// Every user of the database can hold the lock: where there is nothing to do, nobody waits for it.
	if done, err := newest(ctx, conn); done || err != nil {
		return err
	}
	prefix := opts.prefix()
	tx, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	defer rollback(ctx, tx)
	// One at a time. The number is the first bytes of "jobaudit".
	if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', $1, true)`, opts.waits()); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock(1785684577)`)
	if hasCode(err, "55P03") {
		return fmt.Errorf("somebody holds the advisory lock 1785684577, as another Migrate does: pg_locks says which process (%w)", err)
	}
	if err != nil {
		return err
	}
	var encoding string
	if err := tx.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s, and events are UTF-8: create it with ENCODING 'UTF8'", encoding)
	}
	// With the owner's role: who migrated before may have no other.
	if _, err := tx.Exec(ctx, rolesSQL(prefix)); err != nil {
		return err
	}
	version, err := installed(ctx, tx)
	if err != nil {
		return err
	}
	if version >= schemaVersion {
		return nil // nothing to do; what a newer program made keeps what older ones call
	}
	for v := version + 1; v <= schemaVersion; v++ {
		if _, err := tx.Exec(ctx, migrationSQL(v, prefix)); err != nil {
			return fmt.Errorf("version %d: %w", v, err)
		}
	}
	if _, err := tx.Exec(ctx, leaveSQL(prefix)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// newest reports whether the tables are there and need no migration.
func newest(ctx context.Context, conn *pgx.Conn) (bool, error) {
	tx, err := beginRead(ctx, conn)
	if err != nil {
		return false, err
	}
	defer rollback(ctx, tx)
	version, err := described(ctx, tx)
	if err != nil || version >= schemaVersion {
		return err == nil, err
	}
	version, err = installed(ctx, tx) // older programs described nothing
	if hasCode(err, "42501") {
		return false, nil // it has none of the roles, and may have the rights to give itself one
	}
	return version >= schemaVersion, err
}

// described returns the version that the schema's comment names, which needs no rights and
// which only the owner can change, 0 if there is none.
func described(ctx context.Context, tx pgx.Tx) (version int, err error) {
	err = tx.QueryRow(ctx, `SELECT coalesce(max(substring(obj_description(oid, 'pg_namespace') FROM '^job audit log, version ([0-9]{1,9})$')::int), 0)
		FROM pg_namespace WHERE nspname = 'jobaudit'`).Scan(&version)
	return version, err
}

// installed returns the version of the tables, 0 if there are none.
func installed(ctx context.Context, tx pgx.Tx) (version int, err error) {
	var there bool
	// By what each of our roles may ask.
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'jobaudit')`).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	err = tx.QueryRow(ctx, `SELECT coalesce(version, 0) FROM jobaudit.compatible_v1()`).Scan(&version)
	return version, err
}

// MigrationSQL returns what [Migrate] would do to a database without the
// tables, for an administrator who reads first and then runs it by hand, in one
// transaction.
func MigrationSQL(opts *MigrateOptions) string {
	var b strings.Builder
	b.WriteString("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;\n\n" + rolesSQL(opts.prefix()))
	for v := 1; v <= schemaVersion; v++ {
		b.WriteString("\n" + migrationSQL(v, opts.prefix()))
	}
	b.WriteString("\n" + leaveSQL(opts.prefix()) + "\nCOMMIT;\n")
	return b.String()
}

var roles = []string{"owner", "writer", "sequencer", "reader"}

// rolesSQL makes the roles that are missing. They have no login:
// they are granted to those who do.
func rolesSQL(prefix string) string {
	var b strings.Builder
	// Both settings each time: the owner of the database can give them a value.
	b.WriteString("SET LOCAL search_path = " + searchPath + ";\nSET LOCAL standard_conforming_strings = on;\nDO $$ BEGIN\n" +
		"\tPERFORM set_config('jobaudit.migrates', current_user, true), set_config('jobaudit.granted', 'false', true);\n")
	for _, role := range roles {
		name := prefix + "_" + role
		fmt.Fprintf(&b, "\tIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %s) THEN CREATE ROLE %s NOLOGIN; END IF;\n",
			quoteText(name), pgx.Identifier{name}.Sanitize())
	}
	// From version 16 on who makes a role is its member without being allowed to act as it.
	owner := prefix + "_owner"
	fmt.Fprintf(&b, `	IF NOT pg_has_role(%s, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
		GRANT %s TO CURRENT_USER;
		PERFORM set_config('jobaudit.granted', 'true', true);
	END IF;
END $$;
`, quoteText(owner), pgx.Identifier{owner}.Sanitize())
	return b.String()
}

// leaveSQL goes back to the role that rolesSQL ran as, which need not be the session's, and
// takes the owner's role from it, where rolesSQL has granted that: it is for the migration, and
// not for what its user does afterwards.
func leaveSQL(prefix string) string {
	return fmt.Sprintf(`DO $$ BEGIN
	EXECUTE format('SET LOCAL ROLE %%I', current_setting('jobaudit.migrates'));
	IF current_setting('jobaudit.granted') = 'true' THEN
		REVOKE %s FROM CURRENT_USER;
	END IF;
END $$;
`, pgx.Identifier{prefix + "_owner"}.Sanitize())
}

func migrationSQL(version int, prefix string) string {
	text, err := fs.ReadFile(migrations, fmt.Sprintf("migrations/%04d.sql", version))
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, role := range roles {
		names = append(names, "{"+role+"}", pgx.Identifier{prefix + "_" + role}.Sanitize())
	}
	return "SET LOCAL search_path = " + searchPath + ";\nSET LOCAL standard_conforming_strings = on;\n" + strings.NewReplacer(names...).Replace(string(text))
}

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

var errNotMigrated = errors.New("the schema jobaudit is missing or not granted: run 'jobaudit migrate', and grant the writer's role")
