use sekisho_istio::Istio;
use sekisho_sdk::*;
use sekisho_sdk::table::Table;
use serde_json::json;
fn obj(api: &str, kind: &str, name: &str, spec: serde_json::Value) -> Object {
    let (g, v) = api.split_once('/').unwrap_or(("", api));
    let j = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "default", "generation": 1, "uid":"x", "resourceVersion":"12","managedFields":[{"a":1}]}, "spec": spec});
    Object { key: ObjectKey::new(g, kind, "default", name), version: v.into(), json: j.to_string().into_bytes() }
}
fn env() -> Environment { Environment { namespace: "istio-system".into(), labels: vec![("istio".into(),"ingressgateway".into())], class_name: "".into(), controller_name: "".into(), capabilities: vec![], config: "null".into() } }
fn run(label: &str, objects: Vec<Object>) {
    for _ in 0..3 {
        let o = objects.clone();
        let t = std::time::Instant::now();
        let (tr, p) = Istio::translate(env(), o).unwrap();
        let d = t.elapsed();
        let t = std::time::Instant::now();
        let _ = Table::decode(&tr.table).unwrap();
        let dec = t.elapsed();
        let outcome = Outcome { live: true, bindings: tr.bindings.iter().map(|_| Ok(vec![])).collect(), listeners: tr.listeners.iter().map(|_| ListenerState::Serving).collect(), sources: tr.sources.iter().map(|_| SourceState::Ready).collect(), refused_routes: vec![], refused_clusters: vec![] };
        let t = std::time::Instant::now();
        let n = p.report(&outcome).len();
        println!("{label}: translate {d:?} decode {dec:?} report {n} {:?} routes {} findings {} table {}", t.elapsed(), tr.routes.len(), tr.findings.len(), tr.table.len());
    }
}
fn main() {
    let gw = obj("networking.istio.io/v1","Gateway","gw", json!({"selector":{}, "servers":[{"port":{"number":80,"name":"http","protocol":"HTTP"},"hosts":["*"]},{"port":{"number":443,"name":"https","protocol":"HTTPS"},"tls":{"mode":"SIMPLE","credentialName":"c"},"hosts":["*"]}]}));
    let svc = |i: usize| obj("v1","Service",&format!("s{i}"), json!({"clusterIP":"10.0.0.1","selector":{"app":"x"},"type":"ClusterIP","ports":[{"name":"http","port":80,"targetPort":8080,"protocol":"TCP"}]}));
    let rule = |i: usize| json!({"match":[{"uri":{"prefix": format!("/p{i}/")}}],"route":[{"destination":{"host":format!("s{}", i % 1000),"port":{"number":80}}}]});
    let mut a = vec![gw.clone()];
    a.extend((0..1000).map(svc));
    a.extend((0..10000).map(|i| obj("networking.istio.io/v1","VirtualService",&format!("v{i}"), json!({"hosts":[format!("h{i}.example.com")],"gateways":["gw"],"http":[rule(i)]}))));
    run("10k VS, 1 rule, 1k services", a);
    let mut a = vec![gw.clone()];
    a.extend((0..1000).map(svc));
    a.extend((0..100).map(|v| obj("networking.istio.io/v1","VirtualService",&format!("v{v}"), json!({"hosts":[format!("h{v}.example.com")],"gateways":["gw"],"http":(0..100).map(|i| rule(v*100+i)).collect::<Vec<_>>()}))));
    run("100 VS x 100 rules", a);
    let mut a = vec![gw.clone()];
    a.extend((0..1000).map(svc));
    a.push(obj("networking.istio.io/v1","VirtualService","one", json!({"hosts":["h.example.com"],"gateways":["gw"],"http":(0..10000).map(rule).collect::<Vec<_>>()})));
    run("1 VS x 10k rules", a);
    let mut a: Vec<Object> = (0..1000).map(svc).collect();
    a.extend((0..2500).map(|i| obj("networking.istio.io/v1","Gateway",&format!("g{i}"), json!({"selector":{}, "servers":[{"port":{"number":443,"name":"https","protocol":"HTTPS"},"tls":{"mode":"SIMPLE","credentialName":format!("c{i}")},"hosts":[format!("h{i}.example.com")]},{"port":{"number":80,"name":"http","protocol":"HTTP"},"tls":{"httpsRedirect":true},"hosts":[format!("h{i}.example.com")]}]}))));
    a.extend((0..2500).map(|i| obj("networking.istio.io/v1","VirtualService",&format!("v{i}"), json!({"hosts":[format!("h{i}.example.com")],"gateways":[format!("g{i}")],"http":(0..4).map(|k| rule(i*4+k)).collect::<Vec<_>>()}))));
    run("2500 gateways, 2500 VS x 4", a);
}
