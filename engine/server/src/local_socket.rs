//! A Unix socket beside the port: clients of this machine save the network's part of the way.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixStream as Knock},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// A socket that listens at a path of the file system. Who may write to the path may connect.
/// Dropping it removes the path.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Listens at `path`. A socket that an ended server has left there is replaced.
    ///
    /// # Errors
    /// Fails when a server listens there, when something else than a socket is there, and when
    /// the folder is missing or can't be written.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                let problem = "something that is no socket is there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
            }
            match Knock::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    let problem = "a server listens there already";
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, problem));
                }
            }
        }
        Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() })
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "removing a socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_an_ended_server_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("twn.sock");
        let socket = LocalSocket::bind(&path).unwrap();
        let error = LocalSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());

        // A listener of the standard library leaves its path, as a server that was killed does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(LocalSocket::bind(&path).unwrap());

        fs::write(&path, "a file").unwrap();
        let error = LocalSocket::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
