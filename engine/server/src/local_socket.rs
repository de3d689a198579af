//! A Unix socket beside the port: clients of this machine save the network's part of the way.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

/// A socket that listens at a path of the file system. Who may write to the path may connect.
/// Dropping it removes the path.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of what was made at the path.
    made: (u64, u64),
}

impl LocalSocket {
    /// Listens at `path`. A socket that an ended server has left there is replaced. Of two that
    /// find the same one at the same moment, the later has the path.
    ///
    /// # Errors
    /// Fails when a server listens there, when something else than a socket is there, and when
    /// the folder is missing or can't be written.
    pub(crate) async fn bind(path: &Path) -> io::Result<Self> {
        if let Some(there) = at(path)? {
            if !there.file_type().is_socket() {
                let problem = "something that is no socket is there";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
            }
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // One whose places are all taken would have it wait.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {
                    let problem = "a server listens there already";
                    return Err(io::Error::new(io::ErrorKind::AddrInUse, problem));
                }
            }
        }
        let listener = UnixListener::bind(path)?;
        let made = identity(&fs::symlink_metadata(path)?);
        Ok(Self { listener, path: path.to_owned(), made })
    }

    /// Waits for a connection.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for LocalSocket {
    /// Leaves what another server may have put there since.
    fn drop(&mut self) {
        let is_own = at(&self.path).map(|there| there.as_ref().map(identity) == Some(self.made));
        if is_own.unwrap_or(false)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "removing a socket");
        }
    }
}

/// What is at a path, if anything.
fn at(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_an_ended_server_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("twn.sock");
        let socket = LocalSocket::bind(&path).await.unwrap();
        let error = LocalSocket::bind(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());

        // A listener of the standard library leaves its path, as a server that was killed does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(LocalSocket::bind(&path).await.unwrap());

        // What came later at the path of one that ends is left alone.
        let earlier = LocalSocket::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let later = LocalSocket::bind(&path).await.unwrap();
        drop(earlier);
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(later);

        fs::write(&path, "a file").unwrap();
        let error = LocalSocket::bind(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
