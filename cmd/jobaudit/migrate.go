package main

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit/sink/pgsink"
)

func (a *app) migrateCommand() *cobra.Command {
	var print bool
	opts := &pgsink.MigrateOptions{}
	cmd := &cobra.Command{
		Use:   "migrate postgres://…",
		Short: "Make the log's tables and roles in a database, or bring them up to date",
		Long: `Make the schema jobaudit and its four roles in a database, or bring them to the
newest version. It may be called again, and by many at once. The user needs the
rights to create roles and schemas; those of services need none.

With --print it connects to nothing and prints the SQL for a new database, for
an administrator who reads first.`,
		Args: wrongly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case print && len(args) == 0:
				_, err := fmt.Fprint(a.out, pgsink.MigrationSQL(opts))
				return err
			case print:
				return usagef("--print connects to no database")
			case len(args) == 0 || !isDatabase(args[0]):
				return usagef("the database's URL is missing: postgres://…")
			}
			conn, err := pgx.Connect(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer conn.Close(cmd.Context()) //nolint:errcheck // it is used no more
			if err := pgsink.Migrate(cmd.Context(), conn, opts); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s is up to date\n", plain(bareURL(args[0])))
			return err
		},
	}
	cmd.Flags().BoolVar(&print, "print", false, "print the SQL")
	cmd.Flags().StringVar(&opts.RolePrefix, "role-prefix", "", `what the roles' names begin with (default "jobaudit")`)
	return cmd
}
