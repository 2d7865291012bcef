//! Reading everything, at one revision.

use cluster::View;
use etcd_client::{Client, Error, GetOptions, GetResponse};

use super::judge::{Place, Verdict};
use super::members::Failure;
use super::picture::{apply, read_kv};
use super::shared::{Shared, get_constants, is_ours, not_ours};

/// Keys of one answer: some hundred kilobytes.
const PAGE_KEYS: i64 = 1000;

/// Largest answer that is taken: a page of keys, each thirty times what ours are; or a batch of events,
/// which are those of many revisions after a gap.
pub(super) const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Pages of one view at most: a hundred times what nodes and slots come to. Beyond it somebody else
/// writes under our prefix.
const PAGES_MAX: usize = 1000;

/// The whole view, and where in etcd's history it stands.
pub(super) struct Loaded {
    pub(super) view: View,
    pub(super) place: Place,
}

/// Reads the view anew. The first page fixes the revision; the others are read at the same one.
pub(super) async fn load(shared: &Shared) -> Result<Loaded, Failure> {
    let answer = single(shared, |client| get_constants(client, &shared.keys)).await?;
    if !is_ours(&answer, &shared.constants) {
        return Err(not_ours());
    }
    let mut from = shared.keys.prefix().as_bytes().to_vec();
    let mut view = View::empty(shared.constants.slots);
    let mut place = Place::default();
    for page in 0..PAGES_MAX {
        let at = place.revision;
        let answer = single(shared, |client| get_page(client, shared, from.clone(), at)).await?;
        let here = Place::of(answer.header());
        if page == 0 {
            place = here;
        } else if here.cluster != place.cluster {
            let why = "another cluster answered in the middle of a load".to_owned();
            return Err(Failure { verdict: Verdict::Reload, why });
        }
        for change in answer.kvs().iter().filter_map(|kv| read_kv(&shared.keys, kv)) {
            apply(&mut view, change);
        }
        match answer.kvs().last() {
            Some(last) if answer.more() => {
                from = last.key().to_vec();
                // The least key above the last one.
                from.push(0);
            }
            _ => return Ok(Loaded { view, place }),
        }
    }
    let why = format!("more than {PAGES_MAX} pages of keys under {}", shared.keys.prefix());
    Err(Failure { verdict: Verdict::Refused, why })
}

async fn single<T, F>(shared: &Shared, ask: impl Fn(Client) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Error>>,
{
    shared.members.call(shared.members.timeout(), ask).await.map(|answer| answer.value)
}

/// One page, from a key on; at revision 0 the newest.
async fn get_page(
    client: Client,
    shared: &Shared,
    from: Vec<u8>,
    at: i64,
) -> Result<GetResponse, Error> {
    let end = after_prefix(shared.keys.prefix());
    let options = GetOptions::new().with_range(end).with_limit(PAGE_KEYS).with_revision(at);
    let mut keys = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
    keys.get(from, Some(options)).await
}

/// The least key above all that begin with `prefix`, whose last character is ours and is a `/`.
fn after_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_below_the_next_one() {
        let end = after_prefix("/parlour/main/");
        assert!(b"/parlour/main/\xff\xff".as_slice() < end.as_slice());
        assert_eq!(end, b"/parlour/main0");
    }
}
