# Short names for common commands; each is one line, so `just` itself is optional.

# All checks and all tests, as CI runs them.
test:
    scripts/test

# All static checks: formatting, layers, documents, file sizes, dependencies, lints. Under 3 minutes when warm.
check: clippy
    cargo fmt --all --check
    cargo xtask check
    . scripts/env.sh && cargo deny --log-level error check bans licenses sources

# Who may depend on whom.
layers:
    cargo xtask layers
    cargo deny --log-level error check bans

# Lints of the whole workspace.
clippy:
    cargo clippy --workspace --all-targets -- -D warnings

# The test suite N times in a row: a test that fails once is mended or deleted, never retried.
flake N="3":
    for run in $(seq {{N}}); do echo "run $run of {{N}}"; cargo nextest run --workspace || exit 1; done

# The long forms of the tests of faults: some hours. A seed that fails is printed with how to replay it.
torture SEEDS="10000" KILLS="100":
    WINDROW_HISTORY_SEEDS={{SEEDS}} cargo nextest run --profile torture --package windrow-store both_databases_and_the_model_agree
    WINDROW_KILLS={{KILLS}} WINDROW_ORPHANS=1 cargo nextest run --profile torture --package windrow-cli many_kills
    WINDROW_RATE=1 cargo nextest run --profile torture --package windrow-cli broken_postgres
    WINDROW_WATCHERS=1000 cargo nextest run --profile torture --package windrow-cli dead_watchers
    WINDROW_REQUESTS=1000 cargo nextest run --profile torture --package windrow-cli random_requests

# A benchmark of bench/, by its folder's name.
bench NAME="engine":
    cargo run --release --package windrow-bench-{{NAME}}
