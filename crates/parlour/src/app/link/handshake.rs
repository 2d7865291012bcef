//! Who may speak on the internal listener: whoever has the cluster's key.
//!
//! Both sides prove it before the first byte of HTTP/2, each over the other's nonce, so that neither the
//! key nor anything that could be replayed crosses the network. It does not encrypt: a network that
//! others can read wants a tunnel.
//!
//! ```text
//! dialer    -> MAGIC, 32 random bytes d
//! listener  -> 32 random bytes l, HMAC-SHA256(key, "listener" d l)
//! dialer    -> HMAC-SHA256(key, "dialer" d l)
//! ```

use std::io;
use std::time::Duration;

use edge::Secret;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// What a dialer says first; the digit is the handshake's version.
const MAGIC: &[u8; 8] = b"PARLINK1";
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
/// Time for all of it: two round trips between neighbours, and a busy machine.
const WITHIN: Duration = Duration::from_secs(2);

type Nonce = [u8; NONCE_BYTES];

/// Proves the key to the listener, and has it proven.
///
/// # Errors
/// When the other side has another key, is no listener of ours, or takes too long.
pub(super) async fn dial<S>(socket: &mut S, key: &Secret) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(async {
        let ours = nonce()?;
        let mut hello = MAGIC.to_vec();
        hello.extend_from_slice(&ours);
        socket.write_all(&hello).await?;
        let mut theirs: Nonce = [0; NONCE_BYTES];
        socket.read_exact(&mut theirs).await?;
        let mut proof = [0; PROOF_BYTES];
        socket.read_exact(&mut proof).await?;
        check(key, b"listener", &ours, &theirs, &proof)?;
        socket.write_all(&mac(key, b"dialer", &ours, &theirs).finalize().into_bytes()).await
    })
    .await
}

/// The same from the listener's side.
///
/// # Errors
/// As [`dial`].
pub(super) async fn accept<S>(socket: &mut S, key: &Secret) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    within(async {
        let mut magic = [0; MAGIC.len()];
        socket.read_exact(&mut magic).await?;
        if magic != *MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "this is no node of a cluster, or one of another version",
            ));
        }
        let mut theirs: Nonce = [0; NONCE_BYTES];
        socket.read_exact(&mut theirs).await?;
        let ours = nonce()?;
        let mut answer = ours.to_vec();
        answer.extend_from_slice(&mac(key, b"listener", &theirs, &ours).finalize().into_bytes());
        socket.write_all(&answer).await?;
        let mut proof = [0; PROOF_BYTES];
        socket.read_exact(&mut proof).await?;
        check(key, b"dialer", &theirs, &ours, &proof)
    })
    .await
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the other side does not answer");
    timeout(WITHIN, work).await.map_err(late)?
}

fn nonce() -> io::Result<Nonce> {
    let mut nonce: Nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

fn mac(key: &Secret, side: &[u8], dialer: &Nonce, listener: &Nonce) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
    mac.update(side);
    mac.update(dialer);
    mac.update(listener);
    mac
}

fn check(
    key: &Secret,
    side: &[u8],
    dialer: &Nonce,
    listener: &Nonce,
    proof: &[u8; PROOF_BYTES],
) -> io::Result<()> {
    mac(key, side, dialer, listener).verify_slice(proof).map_err(|_| {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the other side has another cluster key; every node needs the same cluster_key_file",
        )
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn key(of: u8) -> Secret {
        Secret::new(vec![of; 32])
    }

    #[tokio::test]
    async fn two_sides_with_one_key_let_each_other_in() {
        let (mut near, mut far) = duplex(1024);
        let (dialer, listener) = (key(1), key(1));
        let (dialled, accepted) =
            tokio::join!(dial(&mut near, &dialer), accept(&mut far, &listener));
        assert!(dialled.is_ok() && accepted.is_ok(), "{dialled:?} {accepted:?}");
        near.write_all(b"h2").await.expect("open");
        let mut after = [0; 2];
        far.read_exact(&mut after).await.expect("nothing was read beyond the handshake");
        assert_eq!(&after, b"h2");
    }

    #[tokio::test]
    async fn another_key_is_refused_by_both_sides() {
        let (mut near, mut far) = duplex(1024);
        let accepting = tokio::spawn(async move { accept(&mut far, &key(2)).await });
        let dialled = dial(&mut near, &key(1)).await.expect_err("refused");
        assert_eq!(dialled.kind(), io::ErrorKind::PermissionDenied);
        drop(near);
        assert!(accepting.await.expect("not cancelled").is_err());
    }

    #[tokio::test]
    async fn a_proof_of_another_conversation_is_worth_nothing() {
        let (mut near, mut far) = duplex(1024);
        let accepting = tokio::spawn(async move { accept(&mut far, &key(1)).await });
        let mut hello = MAGIC.to_vec();
        hello.extend_from_slice(&[7; NONCE_BYTES]);
        near.write_all(&hello).await.expect("open");
        let mut answer = [0; NONCE_BYTES + PROOF_BYTES];
        near.read_exact(&mut answer).await.expect("answered");
        // The listener's own proof, sent back.
        near.write_all(&answer[NONCE_BYTES..]).await.expect("open");
        let refused = accepting.await.expect("not cancelled").expect_err("refused");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dialer_that_says_nothing_is_given_up() {
        let (_near, mut far) = duplex(1024);
        let late = accept(&mut far, &key(1)).await.expect_err("given up");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
