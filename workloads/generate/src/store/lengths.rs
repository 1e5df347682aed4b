//! How long the answers of a template's earlier jobs were.

use windrow_core::OwnerId;
use windrow_store::sqlx::AssertSqlSafe;
use windrow_store::{Conn, StoreError, fetch_all, row};

row! {
    /// One answer.
    pub struct Answer {
        pub step: String,
        pub model: String,
        pub output_tokens: u64,
    }
}

/// Among so many of the owner's latest jobs the template's are looked for.
const JOBS: u32 = 50;

/// The ledgered answers of the owner's latest job with this template that has any: at most `most`, in no order.
pub async fn of_template(
    conn: &mut Conn,
    owner: OwnerId,
    template: &str,
    most: u32,
) -> Result<Vec<Answer>, StoreError> {
    let pinned = conn.dialect().json_text("j.spec", &["template", "id"]);
    let jobs = fetch_all!(
        conn,
        scalar i64,
        AssertSqlSafe(format!(
            "SELECT j.seq FROM (
                 SELECT seq, spec FROM jobs WHERE owner_id = $1 AND workload = 'generate' AND parent_seq IS NULL
                 ORDER BY seq DESC LIMIT $3) j
             WHERE {pinned} = $2 ORDER BY j.seq DESC"
        )),
        owner,
        template,
        JOBS,
    )?;
    for job in jobs {
        let answers = fetch_all!(
            conn,
            Answer,
            "SELECT l.step, l.model, l.output_tokens FROM jobs c JOIN ledger l ON l.job_seq = c.seq
             WHERE c.parent_seq = $1 AND l.kind = 'model' AND l.entry = 'settled'
               AND l.step IS NOT NULL AND l.model IS NOT NULL
             LIMIT $2",
            job,
            most,
        )?;
        if !answers.is_empty() {
            return Ok(answers);
        }
    }
    Ok(Vec::new())
}
