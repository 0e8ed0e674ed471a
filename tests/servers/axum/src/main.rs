//! The least axum server on an inherited socket: / is answered at once, /slow in two parts, with two seconds between.
//!
//! It tells whoever started it when it is ready, in the manner of sd_notify(3).

use std::convert::Infallible;
use std::env;
use std::future::pending;
use std::io;
use std::net;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, HeaderName};
use axum::routing::get;
use axum::serve::Listener;
use futures_util::stream;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let listener = ListenFd::from_env().take_tcp_listener(0)?.ok_or_else(|| {
        io::Error::other("no socket: start it as `remuda -b 127.0.0.1:8080 -- axum_worker`")
    })?;
    listener.set_nonblocking(true)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let app = Router::new().route("/", get("ok\n")).route("/slow", get(slow));
    let (close, closed) = watch::channel(false);
    let door = Door { listener: TcpListener::from_std(listener)?, closed };
    let server = axum::serve(door, app).with_graceful_shutdown(async move {
        terminate.recv().await;
        close.send_replace(true);
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
    tell_that_it_is_ready()?;
    server.await
}

/// Lets connections in until it is closed.
///
/// A server that shuts down gracefully at once closes the connections that it has accepted and not read yet. Under full
/// load that costs a request in one stop or another, whoever the manager is. So this one first accepts no more, and shuts
/// down a moment later.
struct Door {
    listener: TcpListener,
    closed: watch::Receiver<bool>,
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = net::SocketAddr;

    async fn accept(&mut self) -> (TcpStream, net::SocketAddr) {
        let closed = async { drop(self.closed.wait_for(|&closed| closed).await) };
        tokio::select! {
            biased;
            () = closed => pending().await,
            accepted = Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<net::SocketAddr> {
        self.listener.local_addr()
    }
}

fn tell_that_it_is_ready() -> io::Result<()> {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

async fn slow() -> ([(HeaderName, &'static str); 1], Body) {
    let parts = stream::unfold(0, |part| async move {
        match part {
            0 => Some((Ok::<_, Infallible>("o"), 1)),
            1 => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Some((Ok("k\n"), 2))
            }
            _ => None,
        }
    });
    ([(CONTENT_LENGTH, "3")], Body::from_stream(parts))
}
