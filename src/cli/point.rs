//! What `waybill dp` and `waybill cap` have in common: joining, a state directory for one process, a listener with the
//! device's own certificate, and a clean end.

use std::{
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    content::durable,
    site::state::StateDirectory,
    transport::{
        install_crypto,
        session::{Session, hostname},
        tls::{ServerTls, ServingCertificate},
    },
    trust::identity::Role,
    wire::enrol::{JOIN_FILE_BYTES_MAX, JoinFile},
};

/// Longest wait for what a server has given to other threads.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The port this process listened on last, in its state directory.
const PORT_FILE: &str = "port";

/// Options of a distribution point and of an access point
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Join file from `waybill token create`, or - for standard input; needed once, and again if the site deletes this machine
    #[arg(long, value_name = "FILE")]
    join: Option<PathBuf>,
    /// Directory for identity, database and content; made if it does not exist
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Address to listen on for clients; port 0 takes a free one, and the same one at every later start
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Name or address under which clients reach this machine; may be given several times
    #[arg(long, value_name = "NAME")]
    advertise: Vec<String>,
}

/// A device that has joined and listens.
pub(super) struct Point {
    pub(super) device: Device,
    pub(super) listener: TcpListener,
    pub(super) tls: ServerTls,
    pub(super) shutdown: CancellationToken,
}

/// Who this process is.
pub(super) struct Device {
    pub(super) state: StateDirectory,
    pub(super) session: Session,
    certificate: Arc<ServingCertificate>,
    /// Where clients reach it.
    pub(super) url: String,
    /// Names in its certificate.
    pub(super) names: Vec<String>,
}

impl Device {
    /// Serves with a renewed certificate from now on; the old one stays if the new one cannot be used.
    pub(super) fn present(&self, session: &Session) {
        let replaced = Session::key(self.state.path())
            .map_err(anyhow::Error::from)
            .and_then(|key| Ok(self.certificate.replace(&session.certificate_pem, &key)?));
        if let Err(error) = replaced {
            tracing::error!(error = format!("{error:#}"), "the listener goes on with its old certificate");
        }
    }
}

impl Point {
    /// Opens the state directory, joins if it has not joined yet, and binds the listener.
    ///
    /// # Errors
    /// Each with the remedy.
    pub(super) async fn open(common: Common, role: Role) -> Result<Self> {
        install_crypto();
        let state = StateDirectory::open_as(&common.state, &format!("waybill-{role}"))?;
        let join = common.join.as_deref().map(read_join_file).transpose()?;
        let (listener, address) = listen(common.listen, &state.join(PORT_FILE)).await?;
        let names = names(&common.advertise, address);
        let session = Session::open(state.path(), join.as_ref(), role, &names).await?;
        let host = names.first().cloned().unwrap_or_else(hostname);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("https://{host}:{}", address.port());
        let certificate = ServingCertificate::new(&session.certificate_pem, &Session::key(state.path())?)?;
        let tls = ServerTls::devices(certificate.clone(), &session.ca_pem)?;
        let shutdown = CancellationToken::new();
        stop_on_signal(shutdown.clone())?;
        Ok(Self { device: Device { state, session, certificate, url, names }, listener, tls, shutdown })
    }
}

/// Binds the listener. Port 0 is the port of the last start if that is still free: clients know it.
async fn listen(wanted: SocketAddr, port_file: &Path) -> Result<(TcpListener, SocketAddr)> {
    let last = std::fs::read_to_string(port_file).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let kept = match last.filter(|_| wanted.port() == 0) {
        Some(port) => TcpListener::bind(SocketAddr::new(wanted.ip(), port)).await.ok(),
        None => None,
    };
    let listener = match kept {
        Some(listener) => listener,
        None => TcpListener::bind(wanted)
            .await
            .with_context(|| format!("cannot listen on {wanted}; choose another address with --listen"))?,
    };
    let address = listener.local_addr()?;
    if last != Some(address.port()) {
        let written = durable::replace(port_file, address.port().to_string().as_bytes(), 0o600);
        if let Err(error) = written {
            tracing::warn!(%error, port = address.port(), "the port cannot be kept for the next start");
        }
    }
    Ok((listener, address))
}

/// The advertised names; without any, the address it listens on, or the host's name if that is every address.
fn names(advertise: &[String], address: SocketAddr) -> Vec<String> {
    if !advertise.is_empty() {
        return advertise.to_vec();
    }
    if address.ip().is_unspecified() { vec![hostname()] } else { vec![address.ip().to_string()] }
}

fn read_join_file(path: &Path) -> Result<JoinFile> {
    let mut text = Vec::new();
    let limit = JOIN_FILE_BYTES_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().take(limit).read_to_end(&mut text).context("cannot read the join file from standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        file.take(limit).read_to_end(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    }
    ensure!(!text.is_empty(), "the join file {} is empty", path.display());
    JoinFile::decode(&text).with_context(|| format!("{} cannot be used", path.display()))
}

/// Runs a server to its end. What it has given to other threads, such as the reading of a large tree or a query over many
/// clients, is not waited for: whatever is durable is so already.
///
/// # Errors
/// What `work` says, or that there can be no threads.
pub(super) fn serving(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(STOP_TIMEOUT);
    done
}

/// Cancels `shutdown` when the process is asked to stop.
///
/// # Errors
/// If signals cannot be waited for.
pub(super) fn stop_on_signal(shutdown: CancellationToken) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        shutdown.cancel();
    });
    Ok(())
}
