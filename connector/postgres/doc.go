// Package postgres delivers to PostgreSQL exactly once, and acts in its
// transactions.
//
//	weir.DefineWith("trading", Config{DSN: "host=/run/postgresql dbname=shop"}, func(f *weir.Flow, cfg Config) {
//		db := postgres.Open(f, "db", postgres.Config{DSN: cfg.DSN})
//		trades := weir.From(f, "trades", …)
//		weir.Into(trades, "ledger", weir.ExactlyOnce(postgres.Copy[Trade](db, "trades")), policy.Retry{Max: 5, Delay: time.Second})
//	})
//
// [Insert], [Upsert] and [Copy] make sinks, and [Tx] is what effect.Transactional
// acts through. Nothing is opened before it is used, and nothing by a replay.
//
// # Sinks
//
// What is at hand, up to a thousand records, is one transaction, which writes the
// rows and moves the sink's mark, how far the stage has come:
//
//	begin; set local …
//	insert …; insert …; …           or  copy … from stdin
//	update weir_marks set mark = m1
//	  where run = … and stage = … and owner = us and mark = m0
//	commit                          if that changed one row
//
// An epoch of a run is a process that owns it. When it opens it takes the mark:
//
//	insert into weir_marks … on conflict … do update set owner = us
//	  where epoch is smaller than ours
//	  returning mark
//
// Both change the same row, so the server puts them in an order, and whichever
// comes second waits until the first has ended and then looks again:
//
//	owner 1   rows …… move mark ──── commit
//	owner 2              take ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ has m1: those rows are delivered
//
//	owner 1   rows …… move mark ──── ✗ (it died, or was ended)
//	owner 2              take ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ has m0: those rows are not there
//
//	owner 1   rows …………………………………………… move mark: no row is ours: rolled back
//	owner 2              take ─ commit         has m0
//
// So when the new owner has the mark, no transaction of an earlier one can commit
// any more, and whatever one of them committed is in the mark. It does not matter
// whether that process is dead, or slow, or thinks that it is the owner. Two that
// have the same number, because the directory of the run was copied, differ in the
// epoch's random id: the second is refused.
//
// A commit that is not answered is looked for by its mark, when the batch is tried
// again and when the run is continued. It is not repeated if it was one.
//
// The row is locked between the moving of the mark and the commit, which follows at
// once. If a process vanishes in between without closing its connection, as when a
// machine loses its power, the server ends the transaction after Config.IdleTimeout
// (10 s); of one that was killed, at once. An open waits twice as long and then says
// that something is in the way. Rows that a vanished process wrote before that are
// in nobody's way but of rows with the same keys, and as long: the server probes
// connections that are silent.
//
// # What the database refuses
//
//	SQLSTATE 21, 22, 23, 44, 54, P0001   the row is refused: data that does not fit, a
//	                                     constraint, a view, a size, a trigger that raises
//	a value that its column cannot hold  likewise, seen here
//	everything else                      may pass: deadlocks, serialization, lost
//	                                     connections, a server that shuts down, a lock or
//	                                     a statement that takes too long, a table that is
//	                                     missing, a right that is
//
// A batch with a row that is refused is rolled back and committed in halves, until
// that row stands alone. It is a dead letter then, and the mark passes over it. So a
// constraint over several rows must hold for each of them as they come. What may
// pass is tried again as policy says and then fails the stage; the run is continued
// from the mark.
//
// Errors tell SQLSTATE, constraint, table and column. They tell neither values, nor
// what a trigger said, nor credentials.
//
// # Effects
//
// A transaction of effect.Transactional begins by inserting its key into
// weir_effects, and ends by storing the outcome there. The key is unique: a second
// transaction with it waits for the first, and finds it committed, or goes on in its
// place. To look a key up is to try to insert it: so "not found" is not said while a
// transaction that has it is under way. One that has not inserted it yet can do no
// harm either. It commits only after it has heard that it has the key, so it belongs
// to a process that lives; a call that this process still makes is known to the
// runtime, and one of a dead process is over.
//
// # Tables
//
// They are made where they are missing, in the first schema of the search path,
// unless Config.NoCreate is set:
//
//	create table weir_marks (
//	  run      text        not null,  -- root of the run: the same when it is continued
//	  stage    text        not null,
//	  epoch    bigint      not null,  -- the owner's
//	  owner    text        not null,  -- its epoch's random id
//	  mark     text        not null,  -- how far it has come; '' at first
//	  moved_at timestamptz not null default now(),
//	  primary key (run, stage)
//	)
//
//	create table weir_effects (
//	  key          text        primary key,
//	  outcome      bytea       not null,
//	  committed_at timestamptz not null default now()
//	)
//
// A role needs insert, select and update on them. What is older than every run that
// may still be continued can go, by hand or by a timer:
//
//	delete from weir_marks   where moved_at     < now() - interval '30 days';
//	delete from weir_effects where committed_at < now() - interval '30 days';
//
// # Limits
//
// The guarantee is that of the database: one that is restored from a backup, or
// fails over to a copy that lags, lacks what the log has receipts for, and nobody
// notices here. Transactions are durable when they are answered (synchronous_commit
// is on in them if it was off).
//
// Behind PgBouncer in transaction mode add default_query_exec_mode=exec to the DSN.
package postgres
