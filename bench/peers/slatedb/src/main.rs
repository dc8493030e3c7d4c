//! SlateDB, one task a process; the store is what the environment says (AWS_BUCKET, AWS_ENDPOINT …), the codec too (ZSTD).
//!
//!     slatedb-peer load PATH FILE      puts all records, and flushes them into sorted tables
//!     slatedb-peer put PATH FILE       puts the records until the log has them: they are durable. (Closing would flush them once more.)
//!     slatedb-peer scan PATH OUTPUT    writes key TAB value LF in key order
//!
//! No compactor and no garbage collector run beside: what is sent is the task's own.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::ops::RangeFull;
use std::sync::Arc;
use std::time::Instant;

use cpu_time::ProcessTime;
use slatedb::admin::load_aws;
use slatedb::config::{CompressionCodec, FlushOptions, FlushType, ScanOptions, Settings};
use slatedb::object_store::ObjectStore;
use slatedb::{Db, DbReader, WriteBatch};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const BATCH_RECORDS: usize = 1_000;
const FILE_BUFFER_BYTES: usize = 1 << 20;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [action, path, file] = arguments.as_slice() else {
        return Err("slatedb-peer load|put|scan PATH FILE".into());
    };
    let store = load_aws()?;
    let (start, cpu) = (Instant::now(), ProcessTime::now());
    match action.as_str() {
        "load" => {
            let db = open(path, store).await?;
            put_all(&db, file).await?;
            flush(&db, FlushType::MemTable).await?;
            db.close().await?;
        }
        "put" => {
            let db = open(path, store).await?;
            put_all(&db, file).await?;
            flush(&db, FlushType::Wal).await?;
        }
        "scan" => scan(path, store, file).await?,
        _ => return Err(format!("there is no action {action}").into()),
    }
    println!(
        r#"REPORT {{"seconds":{},"cpuSeconds":{}}}"#,
        start.elapsed().as_secs_f64(),
        cpu.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn open(path: &str, store: Arc<dyn ObjectStore>) -> Result<Db, slatedb::Error> {
    let settings = Settings {
        compression_codec: std::env::var("ZSTD").is_ok().then_some(CompressionCodec::Zstd),
        compactor_options: None,
        garbage_collector_options: None,
        // Else a load of many records waits for the compactor.
        l0_max_ssts: usize::MAX,
        l0_max_ssts_per_key: usize::MAX,
        ..Settings::default()
    };
    Db::builder(path, store).with_settings(settings).build().await
}

async fn flush(db: &Db, flush_type: FlushType) -> Result<(), slatedb::Error> {
    db.flush_with_options(FlushOptions { flush_type }).await
}

/// Lines {"k":"…","v":…} are cut apart where they lie: keys have 15 bytes.
async fn put_all(db: &Db, file: &str) -> Outcome {
    let mut batch = WriteBatch::new();
    let mut records = 0;
    for line in BufReader::with_capacity(FILE_BUFFER_BYTES, File::open(file)?).lines() {
        let line = line?.into_bytes();
        batch.put(&line[6..21], &line[27..line.len() - 1]);
        records += 1;
        if records % BATCH_RECORDS == 0 {
            db.write(std::mem::take(&mut batch)).await?;
        }
    }
    if records % BATCH_RECORDS > 0 {
        db.write(batch).await?;
    }
    Ok(())
}

async fn scan(path: &str, store: Arc<dyn ObjectStore>, file: &str) -> Outcome {
    // Its defaults read a block at a time: made for few records.
    let options = ScanOptions { read_ahead_bytes: 8 << 20, max_fetch_tasks: 4, ..ScanOptions::default() };
    let reader = DbReader::builder(path, store).build().await?;
    let mut output = BufWriter::with_capacity(FILE_BUFFER_BYTES, File::create(file)?);
    let mut records = reader.scan_with_options::<RangeFull>(.., &options).await?;
    while let Some(record) = records.next().await? {
        output.write_all(&record.key)?;
        output.write_all(b"\t")?;
        output.write_all(&record.value)?;
        output.write_all(b"\n")?;
    }
    output.into_inner()?.sync_all()?;
    Ok(())
}
