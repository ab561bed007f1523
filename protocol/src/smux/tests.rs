use super::*;

const LIMITS: Limits = Limits {
    stream_send_len: 64,
    receive_len: 100,
    stream_receive_len: 50,
    unanswered_len: 80,
    stream_count: 4,
};

fn pair() -> (Mux, Mux) {
    (
        Mux::new(Role::Client, LIMITS),
        Mux::new(Role::Server, LIMITS),
    )
}

fn transmitted(mux: &mut Mux, max_len: usize) -> Vec<Bytes> {
    let mut out = BytesMut::new();
    std::iter::from_fn(|| (mux.poll_transmit(&mut out, max_len) > 0).then(|| out.split().freeze()))
        .collect()
}

/// Carries everything `from` has to send, in pieces of `piece_len` bytes.
fn carry(from: &mut Mux, to: &mut Mux, piece_len: usize) {
    for message in transmitted(from, 40) {
        for piece in message.chunks(piece_len) {
            to.handle_bytes(Bytes::copy_from_slice(piece)).unwrap();
        }
    }
}

fn events(mux: &mut Mux) -> Vec<StreamEvent> {
    std::iter::from_fn(|| mux.poll_event()).collect()
}

#[test]
fn a_stream_carries_bytes_both_ways_whatever_the_pieces() {
    for piece_len in [1, 3, 8, 40] {
        let (mut client, mut server) = pair();
        let id = client.open().unwrap();
        assert_eq!(u32::from(id), 3);
        client.write(
            id,
            &mut Bytes::from_static(b"question, longer than one message can hold"),
        );
        carry(&mut client, &mut server, piece_len);
        assert_eq!(events(&mut server)[0], StreamEvent::Opened(id));
        assert_eq!(
            &server.read(id)[..],
            b"question, longer than one message can hold"
        );
        server.write(
            id,
            &mut Bytes::from_static(b"an answer that does not fit into forty bytes"),
        );
        server.finish(id);
        carry(&mut server, &mut client, piece_len);
        assert_eq!(
            events(&mut client),
            [StreamEvent::Readable(id), StreamEvent::Finished(id)]
        );
        assert_eq!(
            &client.read(id)[..],
            b"an answer that does not fit into forty bytes"
        );
        client.finish(id);
        carry(&mut client, &mut server, piece_len);
        assert_eq!((client.stream_count(), server.stream_count()), (0, 0));
    }
}

#[test]
fn the_clients_frames_never_cross_messages() {
    let (mut client, _) = pair();
    let id = client.open().unwrap();
    client.write(id, &mut Bytes::from(vec![7; 60]));
    for message in transmitted(&mut client, 40) {
        let (mut server, _) = (Mux::new(Role::Server, LIMITS), ());
        server.handle_bytes(message).unwrap();
        assert!(server.decoder.data.is_none() && server.decoder.header.is_empty());
    }
}

#[test]
fn streams_take_turns_and_control_frames_go_first() {
    let (mut client, _) = pair();
    let (bulk, light) = (client.open().unwrap(), client.open().unwrap());
    transmitted(&mut client, 40);
    client.write(bulk, &mut Bytes::from(vec![b'b'; 64]));
    client.write(light, &mut Bytes::from_static(b"l"));
    let mut out = BytesMut::new();
    client.poll_transmit(&mut out, 40);
    assert_eq!(out[8], b'b');
    client.open().unwrap();
    out.clear();
    client.poll_transmit(&mut out, 40);
    assert_eq!(&out[..8], [1, 0, 0, 0, 7, 0, 0, 0]);
    assert_eq!(out[16], b'l');
}

#[test]
fn a_keep_alive_goes_out_only_where_nothing_else_does() {
    let (mut client, _) = pair();
    client.keep_alive();
    client.keep_alive();
    assert_eq!(transmitted(&mut client, 40), [&KEEP_ALIVE_FRAME[..]]);
    client.open().unwrap();
    client.keep_alive();
    assert_eq!(transmitted(&mut client, 40).concat().len(), HEADER_LEN);
}

#[test]
fn writers_wait_for_their_share_and_are_told() {
    let (mut client, _) = pair();
    let id = client.open().unwrap();
    let mut data = Bytes::from(vec![1; 100]);
    assert_eq!(client.write(id, &mut data), 64);
    assert_eq!(client.write(id, &mut data), 0);
    assert!(events(&mut client).is_empty());
    transmitted(&mut client, 40);
    assert_eq!(events(&mut client), [StreamEvent::Writable(id)]);
    assert_eq!(client.write(id, &mut data), 36);
}

#[test]
fn a_stalled_reader_holds_the_session_back_until_it_reads() {
    let (mut client, mut server) = pair();
    let id = client.open().unwrap();
    for _ in 0..2 {
        client.write(id, &mut Bytes::from(vec![1; 64]));
        carry(&mut client, &mut server, 40);
    }
    assert!(server.is_receive_blocked());
    assert_eq!(server.read(id).len(), 128);
    assert!(server.is_receive_blocked(), "the reader may still hold it");
    assert!(server.read(id).is_empty());
    assert!(!server.is_receive_blocked());
}

#[test]
fn a_reader_that_is_behind_is_reported_until_it_has_caught_up() {
    let (mut client, mut server) = pair();
    let id = client.open().unwrap();
    carry(&mut client, &mut server, 40);
    for _ in 0..2 {
        server.write(id, &mut Bytes::from(vec![1; 50]));
        carry(&mut server, &mut client, 40);
        let reported = events(&mut client);
        assert_eq!(
            reported,
            [StreamEvent::Readable(id), StreamEvent::Stalled(id)]
        );
        assert_eq!(client.read(id).len(), 50);
        assert_eq!(
            client.stalled_streams().count(),
            1,
            "it may still hold them"
        );
        client.read(id);
        assert_eq!(client.stalled_streams().count(), 0);
    }
}

#[test]
fn closing_a_stream_gives_its_unread_bytes_back() {
    let (mut client, mut server) = pair();
    let id = client.open().unwrap();
    client.write(id, &mut Bytes::from(vec![1; 64]));
    carry(&mut client, &mut server, 40);
    server.abort(id);
    assert_eq!(server.receive_len, 0);
    client.write(id, &mut Bytes::from(vec![1; 64]));
    carry(&mut client, &mut server, 40);
    assert_eq!(
        server.receive_len, 0,
        "data for a closed stream is discarded"
    );
    carry(&mut server, &mut client, 40);
    assert_eq!(events(&mut client).last(), Some(&StreamEvent::Finished(id)));
}

#[test]
fn finish_waits_for_what_was_written() {
    let (mut client, mut server) = pair();
    let id = client.open().unwrap();
    client.write(id, &mut Bytes::from(vec![1; 64]));
    client.finish(id);
    carry(&mut client, &mut server, 40);
    assert_eq!(server.read(id).len(), 64);
    assert_eq!(events(&mut server).last(), Some(&StreamEvent::Finished(id)));
}

#[test]
fn a_refusal_belongs_to_the_next_stream_closed_without_data() {
    let (mut client, mut server) = pair();
    let (answered, refused) = (client.open().unwrap(), client.open().unwrap());
    carry(&mut client, &mut server, 40);
    client.on_refusal();
    server.write(answered, &mut Bytes::from_static(b"data"));
    server.finish(answered);
    server.abort(refused);
    carry(&mut server, &mut client, 40);
    let events = events(&mut client);
    assert!(events.contains(&StreamEvent::Finished(answered)));
    assert!(events.contains(&StreamEvent::Refused(refused)));
}

#[test]
fn streams_are_limited_and_ids_are_not_reused() {
    let (mut client, mut server) = pair();
    let ids: Vec<_> = (0..4).map(|_| client.open().unwrap()).collect();
    assert_eq!(client.open(), Err(OpenError::Exhausted));
    client.abort(ids[0]);
    assert!(!ids.contains(&client.open().unwrap()));

    client.next_id = Some(u32::MAX);
    client.abort(ids[1]);
    client.open().unwrap();
    client.abort(ids[2]);
    assert_eq!(client.open(), Err(OpenError::Exhausted));

    for id in 0..5_u8 {
        let open = Bytes::copy_from_slice(&[1, 0, 0, 0, id, 0, 0, 0]);
        let expected = if id < 4 {
            Ok(())
        } else {
            Err(MuxError::TooManyStreams(4))
        };
        assert_eq!(server.handle_bytes(open), expected);
    }
}

#[test]
fn a_client_accepts_no_streams() {
    let (mut client, _) = pair();
    let open = Bytes::from_static(&[1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(client.handle_bytes(open), Err(MuxError::UnexpectedOpen(2)));
}
