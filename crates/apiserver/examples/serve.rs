//! An API server alone over a datastore in memory, for replaying records of a real one:
//! `serve DIR [SERVICE-CIDR [SERVICE-CIDR]]` writes `ca.crt`, `admin.crt`, `admin.key` and `kubeconfig` to DIR, prints its URL and
//! serves until it is killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Env;
use pki::{Authorities, IssueRequest, Usage};
use skiff_apiserver::{ApiServer, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: serve DIR [SERVICE-CIDR [SERVICE-CIDR]]")?);
    base::logging::init("info", base::logging::Format::Text)?;
    let env = Env::system();
    let mut config = Config::new(&dir);
    config.bind_address = [127, 0, 0, 1].into();
    config.secure_port = 0;
    let ranges: Vec<ipnet::IpNet> = arguments.map(|range| range.parse()).collect::<Result<_, _>>()?;
    if !ranges.is_empty() {
        config.service_cluster_ip_range = base::Networks::new(&ranges)?;
    }
    let server = ApiServer::build(config, Arc::new(store::Memory::new()), env.clone())?;
    let authorities = Authorities::load_or_create(&dir, &env)?;
    let admin = IssueRequest {
        common_name: "admin".to_owned(),
        organizations: vec!["system:masters".to_owned()],
        dns_names: Vec::new(),
        ips: Vec::new(),
        usage: Usage::Client,
        validity: Duration::from_secs(86_400),
    };
    let client = authorities.client.load_or_issue(&dir, "admin", &admin)?;
    let url = format!("https://{}", server.local_address());
    let kubeconfig = pki::kubeconfig::Kubeconfig {
        server: &url,
        certificate_authority: &authorities.server.certificate_pem(),
        name: "default",
        client: &client,
    };
    kubeconfig.write(&dir.join("kubeconfig"))?;
    println!("{url}");
    let (_trigger, drain) = base::drain();
    server.run(drain).await?;
    Ok(())
}
