//! `/metrics`: what is counted, in Prometheus' text format. `docs/operating.md` lists the names.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::status;
use crate::control::{Board, Published};
use crate::finding::Severity;
use crate::tally::{Counts, Histogram, Streams};
use crate::upstream::Limited;
use crate::worker::Report;

/// The page.
pub(super) async fn text(board: &Board) -> String {
    let reports = board.reports().await;
    let (published, _) = board.published();
    let pulses: Vec<_> = reports.iter().map(|report| report.pulse).collect();
    let ready = board.ready(&published, &pulses).is_ok();
    let counts = Counts::of(reports.iter().map(|report| report.counts.clone()));
    let scrape = Scrape { reports, published, counts, ready };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => text,
        // Writing into a string does not fail.
        Err(error) => format!("# {error}\n"),
    }
}

/// Everything at one moment.
#[derive(Debug)]
struct Scrape {
    reports: Vec<Report>,
    published: std::sync::Arc<Published>,
    counts: Counts,
    ready: bool,
}

type Labels<'l> = Vec<(&'static str, &'l str)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.requests(encoder)?;
        self.streams(encoder)?;
        self.connections(encoder)?;
        self.plugins(encoder)?;
        self.configuration(encoder)?;
        process(encoder)
    }
}

impl Scrape {
    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let codes: Vec<String> = self.counts.requests.keys().map(|series| series.code.to_string()).collect();
        let requests = self.counts.requests.iter().zip(&codes).map(|((series, count), code)| {
            let labels = vec![
                ("listener", &*series.listener),
                ("route", &*series.route),
                ("cluster", &*series.cluster),
                ("code", code.as_str()),
                ("reason", series.reason),
            ];
            (labels, *count)
        });
        counters(encoder, "sekisho_requests", "Requests whose answer is over", requests)?;
        let durations = || self.counts.durations.iter();
        let total = durations().map(|(listener, durations)| (vec![("listener", &**listener)], &durations.total));
        let help = "From the arrival of a request's head to the end of its answer";
        histograms(encoder, "sekisho_request_duration_seconds", help, total)?;
        let own = durations().map(|(listener, durations)| (vec![("listener", &**listener)], &durations.own));
        let help = "From the arrival of a request's head to the head of its answer, less the wait for an endpoint";
        histograms(encoder, "sekisho_gateway_duration_seconds", help, own)
    }

    fn streams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let by = |value: fn(&Streams) -> u64| {
            self.counts.streams.iter().map(move |(series, streams)| {
                let labels = vec![
                    ("listener", &*series.listener),
                    ("route", &*series.route),
                    ("cluster", &*series.cluster),
                    ("reason", series.reason),
                ];
                (labels, value(streams))
            })
        };
        let help = "Connections that were not read as requests and are over";
        counters(encoder, "sekisho_streams", help, by(|streams| streams.count))?;
        let help = "Bytes from clients on connections that were not read as requests and are over";
        counters(encoder, "sekisho_stream_received_bytes", help, by(|streams| streams.received))?;
        let help = "Bytes to clients on connections that were not read as requests and are over";
        counters(encoder, "sekisho_stream_sent_bytes", help, by(|streams| streams.sent))
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let handshakes = self
            .counts
            .handshakes
            .iter()
            .map(|((listener, result), count)| (vec![("listener", &**listener), ("result", *result)], *count));
        counters(encoder, "sekisho_handshakes", "TLS handshakes by result", handshakes)?;
        let workers: Vec<String> = self.reports.iter().map(|report| report.pulse.worker.to_string()).collect();
        let by_worker = |value: fn(&Report) -> usize| {
            let labelled = self.reports.iter().zip(&workers);
            labelled.map(move |(report, worker)| (vec![("worker", worker.as_str())], value(report) as f64))
        };
        let clients = by_worker(|report| report.connections);
        gauges(encoder, "sekisho_client_connections", "Open connections of clients", clients)?;
        let upstream = by_worker(|report| report.upstream_connections);
        gauges(encoder, "sekisho_upstream_connections", "Open connections to endpoints", upstream)?;
        let endpoints = || {
            let parts = self.published.generation.parts.iter();
            parts.flat_map(|part| part.clusters.iter().map(move |cluster| (&*part.plugin, &*cluster.name, cluster)))
        };
        let unreached = |failing: bool| {
            endpoints().map(move |(plugin, name, cluster)| {
                let count = cluster.endpoints.iter().filter(|endpoint| (endpoint.unreached() > 0) == failing).count();
                let state = if failing { "failing" } else { "well" };
                (vec![("plugin", plugin), ("cluster", name), ("state", state)], count as f64)
            })
        };
        let retries =
            endpoints().map(|(plugin, name, cluster)| (vec![("plugin", plugin), ("cluster", name)], cluster.retried()));
        counters(encoder, "sekisho_cluster_retries", "Tries besides the first of each request", retries)?;
        let mirrors = self.counts.mirrors.iter();
        let mirrors =
            mirrors.map(|((cluster, result), count)| (vec![("cluster", &**cluster), ("result", *result)], *count));
        counters(encoder, "sekisho_mirrors", "Copies of requests for mirrors, by result", mirrors)?;
        let overflows = endpoints().flat_map(|(plugin, name, cluster)| {
            let of = move |limited: Limited| {
                let labels = vec![("plugin", plugin), ("cluster", name), ("limit", limited.name())];
                (labels, cluster.overflows(limited))
            };
            Limited::ALL.into_iter().map(of).filter(|(_, count)| *count > 0)
        });
        let help = "Requests and tries that a limit of their cluster did not let through";
        counters(encoder, "sekisho_cluster_overflows", help, overflows)?;
        let left_out =
            endpoints().filter(|(_, _, cluster)| cluster.outlier.is_some()).map(|(plugin, name, cluster)| {
                let count = cluster.endpoints.iter().filter(|endpoint| endpoint.left_out().is_some()).count();
                (vec![("plugin", plugin), ("cluster", name)], count as f64)
            });
        let help = "Endpoints that are left out for a while because they kept failing";
        gauges(encoder, "sekisho_cluster_endpoints_left_out", help, left_out)?;
        let ejections =
            endpoints().filter(|(_, _, cluster)| cluster.outlier.is_some()).map(|(plugin, name, cluster)| {
                let count: u64 = cluster.endpoints.iter().map(|endpoint| endpoint.ejections()).sum();
                (vec![("plugin", plugin), ("cluster", name)], count)
            });
        let help = "How often endpoints, of those that there are, were left out";
        counters(encoder, "sekisho_cluster_ejections", help, ejections)?;
        let help = "Endpoints that are ready, by whether the last connection to them could be made";
        gauges(encoder, "sekisho_cluster_endpoints", help, unreached(false).chain(unreached(true)))
    }

    fn plugins(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status: Vec<_> = self.published.plugins.iter().map(|card| status::plugin(card, &self.reports)).collect();
        let calls = status.iter().flat_map(|plugin| {
            plugin.calls.iter().flat_map(move |(call, calls)| {
                let good = calls.count.saturating_sub(calls.traps + calls.overruns);
                [("ok", good), ("trap", calls.traps), ("overrun", calls.overruns)].map(|(result, count)| {
                    (vec![("plugin", plugin.name.as_str()), ("call", call.as_str()), ("result", result)], count)
                })
            })
        });
        counters(encoder, "sekisho_plugin_calls", "Calls into plugins by result", calls)?;
        let seconds = status.iter().flat_map(|plugin| {
            plugin.calls.iter().map(move |(call, calls)| {
                (vec![("plugin", plugin.name.as_str()), ("call", call.as_str())], calls.seconds)
            })
        });
        let help = "Time spent in calls into plugins";
        counters(encoder, "sekisho_plugin_call_seconds", help, seconds)?;
        let mut routes: BTreeMap<&str, Histogram> = BTreeMap::new();
        for report in self.reports.iter().flat_map(|report| &report.plugins) {
            match routes.get_mut(&*report.plugin) {
                Some(known) => known.add(&report.calls),
                None => drop(routes.insert(&report.plugin, report.calls.clone())),
            }
        }
        let routes = routes.iter().map(|(plugin, calls)| (vec![("plugin", *plugin)], calls));
        histograms(encoder, "sekisho_plugin_route_duration_seconds", "One `route` call", routes)?;
        let unavailable = status
            .iter()
            .filter(|plugin| plugin.kind == "routes")
            .map(|plugin| (vec![("plugin", plugin.name.as_str())], plugin.unavailable));
        let help = "Requests for which a plugin was not asked, because it had failed";
        counters(encoder, "sekisho_plugin_unavailable", help, unavailable)?;
        let known = status
            .iter()
            .filter(|plugin| plugin.kind == "routes")
            .map(|plugin| (vec![("plugin", plugin.name.as_str())], plugin.known));
        let help = "Requests whose route was known from one before, so that the plugin was not asked";
        counters(encoder, "sekisho_plugin_routes_known", help, known)?;
        let of = |value: fn(&status::Plugin) -> f64| {
            status.iter().map(move |plugin| (vec![("plugin", plugin.name.as_str())], value(plugin)))
        };
        gauges(encoder, "sekisho_plugin_instances", "Instances that workers hold", of(|p| p.instances as f64))?;
        let memory = of(|plugin| plugin.memory_bytes as f64);
        gauges(encoder, "sekisho_plugin_memory_bytes", "Linear memory of these instances", memory)?;
        let breakers = of(|plugin| plugin.breakers_open as f64);
        gauges(encoder, "sekisho_plugin_breakers_open", "Workers that do not ask the plugin for a while", breakers)?;
        let loaded = of(|plugin| f64::from(u8::from(plugin.sha256.is_some())));
        gauges(encoder, "sekisho_plugin_loaded", "Whether its code is loaded", loaded)
    }

    fn configuration(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let published = &self.published;
        let version = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        gauges(encoder, "sekisho_build_info", "The gateway's version", version.into_iter())?;
        let one = |value: f64| [(Vec::new(), value)].into_iter();
        gauges(encoder, "sekisho_ready", "Whether clients should be sent here", one(f64::from(u8::from(self.ready))))?;
        let number = published.generation.number as f64;
        gauges(encoder, "sekisho_generation", "What is served, counting up", one(number))?;
        let since = published.since.and_then(|since| since.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let help = "Since when, in seconds since 1970";
        gauges(encoder, "sekisho_generation_timestamp_seconds", help, one(since.as_secs_f64()))?;
        let help = "From a change seen to every worker serving it, the last time";
        gauges(encoder, "sekisho_generation_build_seconds", help, one(published.took.as_secs_f64()))?;
        let findings = [Severity::Error, Severity::Warning, Severity::Info].into_iter().map(|severity| {
            let count = published.findings.iter().filter(|finding| finding.severity == severity).count();
            (vec![("severity", severity.name())], count as f64)
        });
        gauges(encoder, "sekisho_findings", "What `sekisho status` would tell the operator", findings)?;
        let mut expiries: BTreeMap<(String, &str), i64> = BTreeMap::new();
        for card in &published.secrets {
            if let Some(summary) = &card.summary {
                expiries.insert((card.source.to_string(), summary.serial.as_str()), summary.not_after);
            }
        }
        let expiries = expiries.iter().map(|((source, serial), not_after)| {
            (vec![("source", source.as_str()), ("serial", *serial)], *not_after as f64)
        });
        let help = "When a certificate expires, in seconds since 1970";
        gauges(encoder, "sekisho_certificate_not_after_seconds", help, expiries)
    }
}

fn counters<'l, V: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'l>, V)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in series {
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

fn gauges<'l>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'l>, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        one(&mut metric, &labels, value)?;
    }
    Ok(())
}

fn one(metric: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: f64) -> fmt::Result {
    if labels.is_empty() { metric.encode_gauge(&value) } else { metric.encode_family(labels)?.encode_gauge(&value) }
}

fn histograms<'l, 'h>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: impl Iterator<Item = (Labels<'l>, &'h Histogram)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, histogram) in series {
        let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
        let mut series = metric.encode_family(&labels)?;
        series.encode_histogram::<NoLabelSet>(sum, count, &histogram.buckets(), None)?;
    }
    Ok(())
}

/// The names that every Prometheus client uses.
fn process(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let one = |value: f64| [(Vec::new(), value)].into_iter();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = Duration::new(cpu.tv_sec.unsigned_abs(), u32::try_from(cpu.tv_nsec).unwrap_or(0));
    let mut metric =
        encoder.encode_descriptor("process_cpu_seconds", "CPU time of the process", None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, u64>(&cpu.as_secs_f64(), None)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok())
    };
    if let Some(kilobytes) = field("VmRSS") {
        gauges(encoder, "process_resident_memory_bytes", "Memory in use", one(kilobytes * 1024.0))?;
    }
    if let Some(threads) = field("Threads") {
        gauges(encoder, "process_threads", "Threads", one(threads))?;
    }
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    gauges(encoder, "process_open_fds", "Open file descriptors", one(open as f64))
}
