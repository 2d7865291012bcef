//! One suite that every engine passes.
//!
//! An engine's tests implement [`Subject`] and call [`conformance_suite!`](crate::conformance_suite),
//! which makes one test of each case. The cases speak of answers only, never of how they are stored.

#![allow(missing_docs, reason = "the name of a case says what it is about")]

mod claims;
mod erasures;
pub mod owner;
mod pages;
mod reads;
mod schedule;
mod trims;
mod unknown;
mod writes;

use std::sync::Arc;

use crate::Journal;

pub use claims::*;
pub use erasures::*;
pub use pages::*;
pub use reads::*;
pub use schedule::*;
pub use trims::*;
pub use unknown::*;
pub use writes::*;

/// A store under test.
pub trait Subject: Send {
    /// Opens the store, which is empty the first time; a second call finds what was written. Whoever
    /// calls has dropped the journal opened before.
    fn open(&mut self) -> Arc<dyn Journal>;

    /// Lets the next commit answer "unknown", carried out or not.
    fn break_next_commit(&mut self, applied: bool);

    /// Rows that reads looked at so far, if the engine counts them.
    fn rows_read(&self) -> Option<u64> {
        None
    }
}

/// Makes a test of every case, for the subject that the expression builds.
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_suite! { $subject =>
            a_slot_is_claimed_by_rising_epochs_and_by_one_nonce_each
            a_second_claim_by_the_same_owner_raises_the_fence
            claims_of_different_slots_do_not_touch_each_other
            an_old_fence_appends_nothing_from_the_next_claim_on
            owners_that_race_leave_no_entry_of_a_superseded_one
            verify_names_the_slots_that_somebody_else_claimed
            a_conflict_in_one_room_leaves_the_other_rooms_appended
            numbers_are_dense_and_a_gap_or_a_repeat_is_a_conflict
            places_in_the_slot_only_rise_and_a_claim_tells_the_last
            a_log_is_born_with_its_first_entry_and_no_other_log_takes_its_place
            ordinals_count_posts_and_nothing_else
            a_part_is_all_or_nothing
            a_part_that_is_too_large_is_refused_and_the_rest_is_not
            a_room_belongs_to_one_slot
            states_are_put_and_deleted_with_the_entries_that_change_them
            everything_is_there_again_after_reopening
            an_unknown_append_that_was_lost_is_settled_by_claiming_again
            an_unknown_append_that_was_applied_is_settled_by_claiming_again
            an_unknown_claim_is_settled_by_claiming_again
            ranges_are_dense_within_their_bounds_in_both_directions
            entries_are_found_by_the_post_they_speak_of
            ids_tell_everything_but_the_payload
            rooms_are_walked_in_pages_by_slot_or_all
            an_unborn_room_reads_as_nothing
            pages_are_counted_from_every_anchor
            a_page_holds_the_folds_and_the_users_own_reactions
            a_page_stops_at_its_bytes_but_has_one_post
            a_page_costs_the_same_whatever_lies_between_its_posts
            an_erased_entry_keeps_everything_but_its_content
            an_entry_may_be_erased_in_the_transaction_that_writes_it
            an_erasure_of_nothing_is_refused
            a_trim_moves_the_first_entry_and_drops_what_speaks_of_the_rest
            a_trim_is_idempotent_fenced_and_may_take_all
            a_trim_beside_an_append_sees_it_or_not_but_never_a_part
            a_trimmed_room_goes_on_counting
            random_schedules_agree_with_a_small_model
        }
    };
    ($subject:expr => $($case:ident)+) => {
        $(#[tokio::test]
        async fn $case() {
            $crate::conformance::$case(&mut $subject).await;
        })+
    };
}
