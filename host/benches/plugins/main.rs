//! What the plugins cost: one `route` call, `load`, `translate`, `report` and one decoded secret, each in the sandbox
//! and natively, for 10, 1,000 and 10,000 routes.
//!
//! `cargo bench --bench plugins` takes times with criterion. With `-- count`, instructions are counted instead, which
//! are the same on a busy machine: in the sandbox as wasmtime's fuel ([`fuel`]), natively by valgrind ([`count`]).
#![expect(clippy::print_stdout, reason = "counts are the output")]

mod cases;
mod count;
mod estate;
mod fuel;
mod sandboxed;

use std::time::Duration;

use criterion::Criterion;

/// What a case is run under.
pub(crate) trait Meter {
    /// Measures one run. Something short is worth `calls` runs at a time to a meter whose own noise is large.
    fn measure(&mut self, case: &str, calls: u32, run: &mut dyn FnMut());
}

/// Takes times.
struct Clock(Criterion);

impl Meter for Clock {
    fn measure(&mut self, case: &str, _calls: u32, run: &mut dyn FnMut()) {
        self.0.bench_function(case, |bencher| bencher.iter(&mut *run));
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("count") => {
            fuel::count();
            count::start();
        }
        Some("counted") => count::run(),
        _ => {
            let criterion = Criterion::default()
                .without_plots()
                .warm_up_time(Duration::from_millis(300))
                .measurement_time(Duration::from_secs(2))
                .sample_size(30)
                .configure_from_args();
            let mut clock = Clock(criterion);
            cases::all(&mut clock);
            clock.0.final_summary();
        }
    }
}
