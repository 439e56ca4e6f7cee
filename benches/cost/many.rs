//! Many messages in one run: what one costs, whatever their number.
//!
//! Each measurement is a process of its own, so that its CPU time and its memory are those of the
//! client alone; the server is in the process that starts them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

use crate::work::{Sink, answer};
use crate::{MESSAGES, baseline, counted, ours, runtime};

/// Batches in flight.
pub const AT_A_TIME: usize = 4;
/// Batches of one measurement of CPU time, and how many there are of each, which take turns.
const BATCHES: usize = 200;
const ROUNDS: usize = 25;
const LENGTH_ROUNDS: usize = 3;

/// The CPU time and time of a process for all of its messages, and its peak memory.
struct Used {
    cpu_ns: f64,
    ns: f64,
    peak_kib: f64,
}

pub fn compare() {
    let runtime = runtime();
    let sink = runtime.block_on(Sink::start(answer(MESSAGES)));
    println!("\nmany messages, {AT_A_TIME} batches at a time, per message: CPU time, instructions");
    println!("  contents             first ns  second ns  ratio    first    second  ratio");
    for (contents, one, other) in [
        ("one", "ours", "baseline"),
        ("all-different", "ours", "baseline"),
        ("one", "journal", "ours"),
    ] {
        let cpu_ns = |who| used(sink.address, who, contents, BATCHES, 1).cpu_ns;
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (cpu_ns(one), cpu_ns(other))).collect();
        let of = |number: fn(&(f64, f64)) -> f64| median(rounds.iter().map(number).collect());
        let (ours, baseline) = (of(|round| round.0), of(|round| round.1));
        // A ratio per round, because the two took turns.
        let ratio = of(|(ours, baseline)| ours / baseline);
        print!("  {contents}, {one}/{other}: {ours:>8.0} {baseline:>8.0}  {ratio:.3}");
        match (
            instructions(sink.address, one, contents),
            instructions(sink.address, other, contents),
        ) {
            (Some(ours), Some(baseline)) => {
                println!(" {ours:>8.0} {baseline:>9.0}  {:.3}", ours / baseline);
            }
            _ => println!("   not counted: valgrind is not installed"),
        }
    }
}

/// The same work in runs of other lengths: 10 thousand messages and 1 million, and 10 million.
pub fn lengths() {
    let runtime = runtime();
    let sink = runtime.block_on(Sink::start(answer(MESSAGES)));
    println!("\none content, by the length of the run; medians of {LENGTH_ROUNDS} that take turns");
    println!("  messages   CPU ns per message  messages/s  peak MiB");
    // Short runs are repeated, so that each measurement is of a million messages at least.
    let lengths = [(10, 100), (1_000, 1), (10_000, 1)];
    let mut all: [Vec<Used>; 3] = Default::default();
    for _ in 0..LENGTH_ROUNDS {
        for ((batches, times), used_for) in lengths.iter().zip(&mut all) {
            used_for.push(used(sink.address, "ours", "one", *batches, *times));
        }
    }
    for ((batches, _), used) in lengths.iter().zip(&all) {
        let median = |of: fn(&Used) -> f64| median(used.iter().map(of).collect());
        println!(
            "  {:<10} {:>18.0} {:>11.0}  {:>8.1}",
            batches * MESSAGES,
            median(|used| used.cpu_ns),
            1e9 / median(|used| used.ns),
            median(|used| used.peak_kib) / 1024.0
        );
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The cost per message, measured in a separate process.
fn used(sink: SocketAddr, who: &str, contents: &str, batches: usize, times: usize) -> Used {
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["many", &sink.to_string(), who, contents])
        .args([times.to_string(), batches.to_string()])
        .output()
        .expect("a process");
    assert!(output.status.success(), "{output:?}");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = output.split_whitespace().map(str::parse);
    let mut next = || numbers.next().expect("a number").expect("a number");
    let (cpu_ns, ns, peak_kib): (f64, f64, f64) = (next(), next(), next());
    let messages = (batches * times * MESSAGES) as f64;
    Used { cpu_ns: cpu_ns / messages, ns: ns / messages, peak_kib }
}

/// Instructions per message, without those of the kernel.
fn instructions(sink: SocketAddr, who: &str, contents: &str) -> Option<f64> {
    let sink = sink.to_string();
    let of_a_batch = counted(&["many", &sink, who, contents, "1"])?;
    Some(of_a_batch as f64 / MESSAGES as f64)
}

/// The work of a process that another one measures.
pub fn run(arguments: &[String]) {
    let [sink, who, contents, times, batches] = arguments else {
        panic!("many SERVER ours|baseline one|all-different TIMES BATCHES");
    };
    let sink = sink.parse().expect("an address");
    let one = contents == "one";
    let (batches, times) =
        (batches.parse::<usize>().expect("a number"), times.parse::<usize>().expect("a number"));
    let (client, http) = (ours::client(sink), baseline::http_client());
    let send = async |batches| match who.as_str() {
        "ours" => ours::many(&client, (), batches, one).await,
        "journal" => ours::many(&client, ours::Counting::default(), batches, one).await,
        "baseline" => baseline::many(&http, sink, batches, one).await,
        other => panic!("no such program: {other}"),
    };
    let runtime = runtime();
    runtime.block_on(async {
        send(AT_A_TIME).await;
        let (cpu, start) = (cpu_ns(), Instant::now());
        for _ in 0..times {
            send(batches).await;
        }
        let ns = start.elapsed().as_nanos();
        println!("{} {ns} {}", cpu_ns() - cpu, status_kib("VmHWM:"));
    });
}

/// CPU time of the threads of this process.
fn cpu_ns() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("a system with /proc");
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let statistics = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of_task).sum()
}

/// Memory of this process: `VmRSS:` what it has, `VmHWM:` the most it had.
pub fn status_kib(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a system with /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("a number")
}
