//! The client's side of what workers serve: connections that are asked one question or many.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::LIMIT;

/// An open connection to a worker.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// Sends a question and does not wait for the answer.
    pub(crate) fn send(&mut self, path: &str) -> io::Result<()> {
        write!(self.reader.get_mut(), "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
    }

    /// Body of the next answer.
    pub(crate) fn receive(&mut self) -> io::Result<String> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }

    /// One question and its answer.
    pub(crate) fn ask(&mut self, path: &str) -> io::Result<String> {
        self.send(path)?;
        self.receive()
    }
}

/// One question over a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    Connection::open(address)?.ask(path)
}

/// Pid and generation, as a worker answers to `/`.
pub(crate) fn who(body: &str) -> (i32, u32) {
    let (pid, generation) = body.trim().split_once(' ').expect("pid and generation");
    (pid.parse().unwrap(), generation.parse().unwrap())
}
