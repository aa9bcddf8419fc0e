package peer

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// PostgresSync says how durable a commit of the pool's database is.
func PostgresSync(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	var fsync, commit, method string
	for name, to := range map[string]*string{"fsync": &fsync, "synchronous_commit": &commit, "wal_sync_method": &method} {
		if err := pool.QueryRow(ctx, "select current_setting($1)", name).Scan(to); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("fsync = %s, synchronous_commit = %s, wal_sync_method = %s", fsync, commit, method), nil
}
