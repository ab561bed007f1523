use super::*;
use crate::testing;

const MS: Duration = Duration::from_millis(1);

fn sent(count: u8) -> (SendBuffer, Instant) {
    let now = testing::any_instant();
    let mut buffer = SendBuffer::new(Retransmission::default(), Window::fixed(1));
    for number in 0..count {
        buffer.push(now, Bytes::from(vec![number]));
    }
    (buffer, now)
}

fn retransmitted(buffer: &mut SendBuffer, now: Instant) -> Vec<u8> {
    std::iter::from_fn(|| buffer.poll_retransmit(now))
        .map(|frame| frame[0])
        .collect()
}

#[test]
fn acknowledged_messages_are_forgotten_in_any_order() {
    let (mut buffer, now) = sent(3);
    for sequence in [2, 0, 1, 1, 7, -1] {
        buffer.on_ack(now + MS, sequence);
    }
    assert_eq!(buffer.unacked_len(), 0);
    assert_eq!(buffer.next_sequence(), 3);
    assert_eq!(buffer.next_timeout(), None);
    assert!(buffer.is_acked(2) && !buffer.is_acked(3));
}

#[test]
fn three_later_acknowledgements_retransmit_at_once_and_two_do_not() {
    let (mut buffer, now) = sent(5);
    buffer.on_ack(now + MS, 1);
    buffer.on_ack(now + MS, 2);
    assert!(retransmitted(&mut buffer, now + MS).is_empty());
    buffer.on_ack(now + MS, 3);
    assert_eq!(retransmitted(&mut buffer, now + MS), [0]);
    assert!(retransmitted(&mut buffer, now + MS).is_empty());
}

#[test]
fn a_lost_retransmission_is_noticed_by_later_acknowledgements() {
    let (mut buffer, now) = sent(4);
    for sequence in 1..4 {
        buffer.on_ack(now + 10 * MS, sequence);
    }
    assert_eq!(retransmitted(&mut buffer, now + 10 * MS), [0]);
    for number in 4..8 {
        buffer.push(now + 11 * MS, Bytes::from(vec![number]));
    }
    for sequence in 4..7 {
        buffer.on_ack(now + 21 * MS, sequence);
    }
    assert_eq!(retransmitted(&mut buffer, now + 21 * MS), [0]);
}

#[test]
fn the_timeout_retransmits_and_backs_off() {
    let (mut buffer, now) = sent(1);
    let first = buffer.next_timeout().unwrap();
    assert_eq!(first, now + 200 * MS);
    buffer.on_timeout(first - MS);
    assert!(retransmitted(&mut buffer, first).is_empty());
    buffer.on_timeout(first);
    assert_eq!(retransmitted(&mut buffer, first), [0]);
    assert_eq!(buffer.next_timeout(), Some(first + 400 * MS));
}

#[test]
fn a_busy_peer_does_not_draw_the_whole_window_again() {
    let (mut buffer, now) = sent(200);
    buffer.on_timeout(now + 200 * MS);
    let burst = retransmitted(&mut buffer, now + 200 * MS);
    assert_eq!(burst.len(), TIMEOUT_BURST);
    assert_eq!(burst[0], 0);
}

#[test]
fn when_a_whole_window_is_lost_the_first_repairs_draw_the_rest() {
    let (mut buffer, now) = sent(200);
    buffer.on_timeout(now + 200 * MS);
    let burst = retransmitted(&mut buffer, now + 200 * MS).len() as i64;
    for sequence in 0..burst {
        buffer.on_ack(now + 300 * MS, sequence);
    }
    // Without a sample any delay is plausible, so the answers are to the retransmissions.
    let rest = retransmitted(&mut buffer, now + 300 * MS);
    assert_eq!(rest.len() as i64, 200 - burst);
}

#[test]
fn retransmitted_messages_give_no_sample() {
    let (mut buffer, now) = sent(1);
    buffer.on_timeout(now + 200 * MS);
    assert_eq!(retransmitted(&mut buffer, now + 200 * MS), [0]);
    buffer.on_ack(now + 201 * MS, 0);
    assert_eq!(buffer.srtt(), None);
}

#[test]
fn a_new_channel_gets_everything_unacknowledged_in_order() {
    let (mut buffer, now) = sent(5);
    buffer.on_ack(now + MS, 1);
    buffer.retransmit_all();
    assert_eq!(retransmitted(&mut buffer, now + MS), [0, 2, 3, 4]);
}

#[test]
fn an_acknowledgement_of_an_earlier_connection_gives_no_sample() {
    let (mut buffer, now) = sent(1);
    buffer.retransmit_all();
    buffer.on_ack(now + 30_000 * MS, 0);
    assert_eq!(buffer.srtt(), None);
    assert_eq!(buffer.window_len(), 1);
}

/// Has so many transmissions of the oldest message overtaken.
fn overtake(buffer: &mut SendBuffer, now: Instant, count: u8) {
    for _ in 0..count {
        retransmitted(buffer, now);
        for _ in 0..3 {
            let sequence = buffer.next_sequence();
            buffer.push(now, Bytes::from_static(b"x"));
            buffer.on_ack(now + MS, sequence);
        }
    }
}

#[test]
fn a_message_overtaken_again_and_again_was_delivered_if_repetitions_are_not_acknowledged() {
    for presumes_delivery in [true, false] {
        let (mut buffer, now) = sent(1);
        buffer.on_ack(now, 0);
        if presumes_delivery {
            buffer.presume_delivery(8);
        }
        buffer.push(now, Bytes::from_static(b"taken"));
        buffer.on_ack(now + MS, 1);
        buffer.push(now, Bytes::from_static(b"overtaken"));
        overtake(&mut buffer, now, 7);
        assert!(!buffer.is_acked(2));
        overtake(&mut buffer, now, 1);
        assert_eq!(buffer.is_acked(2), presumes_delivery);
    }
}

#[test]
fn the_first_message_may_be_refused_for_minutes() {
    let now = testing::any_instant();
    let mut buffer = SendBuffer::new(Retransmission::default(), Window::fixed(1));
    buffer.presume_delivery(8);
    buffer.push(now, Bytes::from_static(b"refused"));
    overtake(&mut buffer, now, 100);
    assert!(!buffer.is_acked(0));
    // Not even if nothing is sent any more.
    buffer.on_timeout(now + MAX_REFUSAL - MS);
    assert_eq!(retransmitted(&mut buffer, now + MAX_REFUSAL - MS), *b"r");
    buffer.on_timeout(now + 2 * MAX_REFUSAL);
    assert!(buffer.is_acked(0));
}

#[test]
fn what_may_never_be_acknowledged_does_not_fill_the_window() {
    for presumes_delivery in [true, false] {
        let now = testing::any_instant();
        let mut buffer = SendBuffer::new(Retransmission::default(), Window::fixed(10));
        if presumes_delivery {
            buffer.presume_delivery(8);
        }
        buffer.push(now, Bytes::from_static(&[0; 10]));
        assert!(!buffer.is_window_open());
        buffer.retransmit_all();
        retransmitted(&mut buffer, now);
        assert_eq!(buffer.is_window_open(), presumes_delivery);
    }
}

#[test]
fn the_official_ends_repair_their_oldest_message_only() {
    let now = testing::any_instant();
    let mut buffer = SendBuffer::new(Retransmission::official(), Window::fixed(1));
    for number in 0..5 {
        buffer.push(now, Bytes::from(vec![number]));
    }
    for sequence in 1..5 {
        buffer.on_ack(now + MS, sequence);
    }
    assert!(retransmitted(&mut buffer, now + MS).is_empty());
    let deadline = buffer.next_timeout().unwrap();
    assert!(deadline >= now + 100 * MS);
    buffer.on_timeout(deadline);
    assert_eq!(retransmitted(&mut buffer, deadline), [0]);
}

#[test]
fn the_official_ends_repair_one_message_a_tick() {
    let now = testing::any_instant();
    let mut buffer = SendBuffer::new(Retransmission::official(), Window::fixed(1));
    for number in 0..2 {
        buffer.push(now, Bytes::from(vec![number]));
    }
    let first = buffer.next_timeout().unwrap();
    buffer.on_timeout(first);
    assert_eq!(retransmitted(&mut buffer, first), [0]);
    buffer.on_ack(first + MS, 0);
    assert_eq!(buffer.next_timeout(), Some(first + 100 * MS));
}
