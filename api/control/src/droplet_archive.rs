//! A droplet as one archive, for those who want to look at it or take it along.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::Stream;
use model::ids::DropletId;
use model::protocol::cell::layer_blob;
use tokio::sync::mpsc;

use crate::{Actor, Control, Error, Result};

/// Pieces of the archive that wait for the client, of up to [`PIECE`] bytes each.
const PIECES: usize = 4;
const PIECE: usize = 64 * 1024;

impl Control {
    /// The droplet's layers, from the lowest to the topmost, as one gzipped tar. It is made while it is read.
    pub async fn download_droplet(
        &self,
        actor: &Actor,
        id: DropletId,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<>> {
        let droplet = self.droplet(actor, id).await?;
        let blobs = self.store().blobs();
        let mut layers = Vec::new();
        for layer in &droplet.image.layers {
            let name = layer_blob(&layer.diff_id);
            if blobs.size(&name).await?.is_none() {
                return Err(Error::unprocessable(
                    "a layer of this droplet is not kept any more; stage its package again",
                ));
            }
            layers.push(blobs.local_path(&name));
        }
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let writer = tokio::task::spawn_blocking(move || {
            if let Err(error) = write_archive(&layers, &sender) {
                // Where the reader has gone there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
            }
        });
        // The stream owns its writer, which ends when nobody reads any more.
        Ok(futures_util::stream::poll_fn(move |cx| {
            let _ = &writer;
            pieces.poll_recv(cx)
        }))
    }
}

fn write_archive(layers: &[PathBuf], pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let sink = Sink {
        pieces,
        waiting: Vec::with_capacity(PIECE),
    };
    let mut archive = tar::Builder::new(GzEncoder::new(sink, Compression::fast()));
    for layer in layers {
        append(&mut archive, layer)?;
    }
    archive.into_inner()?.finish()?.flush()
}

/// Copies a layer's entries as they are, those that carry long names for the next one included.
fn append(archive: &mut tar::Builder<impl Write>, layer: &Path) -> io::Result<()> {
    let mut layer = tar::Archive::new(zstd::Decoder::new(File::open(layer)?)?);
    for entry in layer.entries()?.raw(true) {
        let entry = entry?;
        let header = entry.header().clone();
        archive.append(&header, entry)?;
    }
    Ok(())
}

struct Sink<'a> {
    pieces: &'a mpsc::Sender<io::Result<Bytes>>,
    waiting: Vec<u8>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.waiting, Vec::with_capacity(PIECE));
        self.pieces
            .blocking_send(Ok(Bytes::from(piece)))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn layer(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, content.as_bytes())
                .expect("appends");
        }
        let path = folder.join(name);
        let bytes = tar.into_inner().expect("ends");
        std::fs::write(&path, zstd::encode_all(&bytes[..], 1).expect("packs")).expect("writes");
        path
    }

    #[tokio::test]
    async fn a_droplets_archive_holds_the_files_of_all_layers() {
        let folder = tempfile::tempdir().expect("a folder");
        let long = format!("app/{}/Main.class", "deep/".repeat(40));
        let layers = [
            layer(folder.path(), "a", &[("jdk/bin/java", "elf")]),
            layer(
                folder.path(),
                "b",
                &[(long.as_str(), "class"), ("app/empty", "")],
            ),
        ];
        let (sender, mut pieces) = mpsc::channel(PIECES);
        let writer = tokio::task::spawn_blocking(move || write_archive(&layers, &sender));
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.recv().await {
            bytes.extend_from_slice(&piece.expect("no error"));
        }
        writer.await.expect("ends").expect("writes");
        let mut found = Vec::new();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        for entry in archive.entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("a text");
            found.push((path, content));
        }
        let want = [
            ("jdk/bin/java", "elf"),
            (long.as_str(), "class"),
            ("app/empty", ""),
        ];
        let want = want.map(|(path, content)| (path.to_owned(), content.to_owned()));
        assert_eq!(found, want);
    }
}
