//! `skiff token`: the server's own join token, and bootstrap tokens, with which machines join for a while.

mod bootstrap;

use anyhow::{Context, Result, bail};
use base::Env;
use client::objects;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use pki::{BootstrapToken, JoinToken};

use crate::layout;
use crate::options::user::{Token, TokenAction, TokenCreate};

/// Prints the server's own, or does what is said with the others.
pub fn run(options: Token) -> Result<()> {
    match options.action {
        None => print_own(&options),
        Some(TokenAction::Create(create)) => super::block_on(async {
            let client = super::reach(create.reach.clone()).await?;
            println!("{}", self::create(&client, &create, &Env::system()).await?);
            Ok(())
        }),
        Some(TokenAction::List { reach }) => super::block_on(async {
            print!("{}", list(&super::reach(reach).await?, &Env::system()).await?);
            Ok(())
        }),
        Some(TokenAction::Delete { reach, tokens }) => super::block_on(async {
            let client = super::reach(reach).await?;
            for token in tokens {
                println!("bootstrap token {} deleted", delete(&client, &token).await?);
            }
            Ok(())
        }),
    }
}

fn print_own(options: &Token) -> Result<()> {
    let path = layout::token_file(&options.installation.instance());
    let token = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read the join token {}: start `skiff server` first, or name its --data-dir", path.display())
    })?;
    println!("{}", token.trim());
    Ok(())
}

/// Makes a token; the line with which a machine joins by it.
pub async fn create(client: &Client, options: &TokenCreate, env: &Env) -> Result<String> {
    let token = match &options.token {
        None => BootstrapToken::random(env),
        Some(text) => BootstrapToken::parse(text).with_context(|| {
            format!("{text:?} is no bootstrap token: use 6 and 16 small letters and digits with a dot between them")
        })?,
    };
    let secret = bootstrap::secret(&token, options, env.now())?;
    let server = match &options.server {
        Some(server) => server.clone(),
        None => public_address(client).await?,
    };
    let request = http::Request::get("/cacerts").body(Vec::new())?;
    let ca_pem = client.request_text(request).await.context("cannot read the cluster's authority")?;
    match secrets(client).create(&PostParams::default(), &secret).await {
        Err(err) if objects::is_already_exists(&err) => {
            bail!("there is a token {0}; delete it first: skiff token delete {0}", token.id())
        }
        created => created.context("cannot make the token")?,
    };
    Ok(format!("skiff agent --server {server} --token {}", JoinToken::of_bootstrap(&token, &ca_pem).reveal()))
}

/// The table of all tokens.
pub async fn list(client: &Client, env: &Env) -> Result<String> {
    let only = ListParams::default().fields(&format!("type={}", bootstrap::TYPE));
    let secrets = secrets(client).list(&only).await.context("cannot list the tokens")?;
    Ok(bootstrap::table(&secrets.items, env.now()))
}

/// Deletes a token, given as a whole or by its id; its id.
pub async fn delete(client: &Client, token: &str) -> Result<String> {
    let id = token.rsplit("::").next().unwrap_or(token).split('.').next().unwrap_or(token);
    match secrets(client).delete(&bootstrap::name(id), &DeleteParams::default()).await {
        Err(err) if objects::is_not_found(&err) => bail!("there is no token {id}; see `skiff token list`"),
        deleted => deleted.with_context(|| format!("cannot delete the token {id}"))?,
    };
    Ok(id.to_owned())
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), "kube-system")
}

/// The address that the cluster tells machines to find it at.
async fn public_address(client: &Client) -> Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let map = maps.get("cluster-info").await.context("the cluster tells nobody where it is; name it with --server")?;
    let text = map.data.and_then(|mut data| data.remove("kubeconfig")).unwrap_or_default();
    let told = Kubeconfig::from_yaml(&text).context("what the cluster tells of itself cannot be read; use --server")?;
    let cluster = told.clusters.into_iter().next().and_then(|named| named.cluster);
    cluster.and_then(|cluster| cluster.server).context("the cluster does not tell where it is; name it with --server")
}
