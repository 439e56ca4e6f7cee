//! The cost of the crate, compared with 50 handwritten lines of reqwest and serde in the same run.
//!
//! ```sh
//! cargo bench --bench cost            # all but the lengths
//! cargo bench --bench cost -- many    # runs of many messages alone
//! cargo bench --bench cost -- lengths # runs of up to ten million messages
//! cargo bench --bench cost -- receipts # the histories of a million messages
//! ```
//!
//! Instructions are counted by valgrind where it is installed; times are ratios of medians of
//! runs that take turns. Numbers are in `docs/COST.md`.

#![allow(
    clippy::cast_precision_loss,
    clippy::unnecessary_wraps,
    reason = "ratios need no more, and the baseline is written as it would be"
)]

mod baseline;
mod many;
mod ours;
mod receipts;
mod work;

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, thread};

use work::{Customer, Sink, answer};

/// Messages of a batch.
const MESSAGES: usize = 1000;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [] => {}
        [what] if what == "many" => return many::compare(),
        [what] if what == "lengths" => return many::lengths(),
        [what] if what == "receipts" => return receipts::compare(),
        [what, who] if what == "receipts" => return receipts::run(who),
        [work, times] => return repeat(work, times.parse().expect("how often")),
        [many, rest @ ..] if many == "many" => return many::run(rest),
        other => panic!("cannot measure {other:?}"),
    }
    let body = ours::body(&work::customers(MESSAGES));
    assert_eq!(body, baseline::body(&work::customers(MESSAGES)), "the same request");
    println!("A batch of {MESSAGES} messages, {} bytes.\n", body.len());
    instructions();
    times();
    loopback();
    many::compare();
}

/// Does some work several times: what valgrind counts.
fn repeat(work: &str, times: usize) {
    let customers = work::customers(MESSAGES);
    let answer = answer(MESSAGES);
    for _ in 0..times {
        match work {
            "build-ours" => _ = black_box(ours::body(black_box(&customers))),
            "build-baseline" => _ = black_box(baseline::body(black_box(&customers))),
            "read-ours" => _ = black_box(ours::read(black_box(&answer))),
            "read-baseline" => _ = black_box(baseline::read(black_box(&answer))),
            other => panic!("no such work: {other}"),
        }
    }
}

fn instructions() {
    println!("instructions per batch        ours      baseline  ratio");
    for (name, work) in [("build, check, serialise", "build"), ("read the answer", "read")] {
        let (Some(ours), Some(baseline)) =
            (counted(&[&format!("{work}-ours")]), counted(&[&format!("{work}-baseline")]))
        else {
            println!("  not counted: valgrind is not installed");
            break;
        };
        let ratio = ours as f64 / baseline as f64;
        println!("  {name:<24} {ours:>9}  {baseline:>12}   {ratio:.3}");
    }
}

/// Instructions of one round of this program with these arguments and how many rounds: eleven less
/// one of them.
fn counted(work: &[&str]) -> Option<u64> {
    let count = |times: u64| {
        let valgrind = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().ok()?)
            .args(work)
            .arg(times.to_string())
            .output()
            .ok()?;
        let report = String::from_utf8_lossy(&valgrind.stderr).into_owned();
        let line = report.lines().find(|line| line.contains("Collected"))?;
        line.split_whitespace().last()?.parse::<u64>().ok()
    };
    Some((count(11)? - count(1)?) / 10)
}

fn times() {
    println!("\ntime, ratio of medians        ours/baseline");
    let customers = work::customers(MESSAGES);
    let answer = answer(MESSAGES);
    let build = ratio(
        || _ = black_box(ours::body(black_box(&customers))),
        || _ = black_box(baseline::body(black_box(&customers))),
    );
    println!("  build, check, serialise   {build:.3}");
    let read = ratio(
        || _ = black_box(ours::read(black_box(&answer))),
        || _ = black_box(baseline::read(black_box(&answer))),
    );
    println!("  read the answer           {read:.3}");
}

fn ratio(mut ours: impl FnMut(), mut baseline: impl FnMut()) -> f64 {
    fn timed(work: &mut impl FnMut()) -> Duration {
        let start = Instant::now();
        work();
        start.elapsed()
    }
    let (mut of_ours, mut of_baseline) = (Vec::new(), Vec::new());
    for _ in 0..201 {
        of_ours.push(timed(&mut ours));
        of_baseline.push(timed(&mut baseline));
    }
    of_ours.sort_unstable();
    of_baseline.sort_unstable();
    of_ours[100].as_secs_f64() / of_baseline[100].as_secs_f64()
}

fn loopback() {
    println!(
        "\nbuild, send and read over loopback, messages per second (the server shares the cores)"
    );
    println!("  at a time        ours  baseline  ratio");
    runtime().block_on(async {
        let sink = Sink::start(answer(MESSAGES)).await;
        for at_a_time in [1, 8] {
            let (mut of_ours, mut of_baseline) = (Vec::new(), Vec::new());
            for _ in 0..9 {
                of_ours.push(ours::rate(sink.address, at_a_time, 40).await);
                of_baseline.push(baseline::rate(sink.address, at_a_time, 40).await);
            }
            of_ours.sort_by(f64::total_cmp);
            of_baseline.sort_by(f64::total_cmp);
            let (ours, baseline) = (of_ours[4], of_baseline[4]);
            let ratio = ours / baseline;
            println!("  {at_a_time:<10} {ours:>10.0}  {baseline:>8.0}  {ratio:.3}");
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(thread::available_parallelism().map_or(2, usize::from))
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Messages per second of some tasks that send batches, each one after the other.
async fn rate<F>(at_a_time: usize, batches: usize, send: impl Fn() -> F) -> f64
where
    F: Future<Output = ()> + Send + 'static,
{
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..batches {
        if tasks.len() == at_a_time {
            tasks.join_next().await.expect("a task").expect("sent");
        }
        tasks.spawn(send());
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("sent");
    }
    (batches * MESSAGES) as f64 / start.elapsed().as_secs_f64()
}

fn customers_for_a_batch() -> Vec<Customer> {
    work::customers(MESSAGES)
}
