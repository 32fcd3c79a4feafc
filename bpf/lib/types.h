/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

/*
 * What the programs share with Go. bpf2go makes Go types of all of it; a test
 * compares the layouts. Padding is always a named field, so that keys have no
 * undefined bytes; nothing is packed. Numbers of the enums are never reused.
 */

#include "kernel.h"

/* pkg/flow.Direction */
enum direction {
	DIRECTION_INGRESS = 1,
	DIRECTION_EGRESS = 2,
};

/* pkg/flow.Verdict */
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_ALLOW = 1,
	VERDICT_DENY = 2,
	VERDICT_CONTESTED = 3,
};

/* pkg/ruleset.PeerFlags */
enum peer_flags {
	PEER_NODE = 1,
	PEER_LOCAL_NODE = 2,
	PEER_POD = 4,
};

/* pkg/ruleset.ServicePorts */
#define SERVICE_PORTS 0xffff

/* Size of the filter in maps.h; its bit for an address is service_bit. */
#define SERVICE_FILTER_WORDS 64

/* pkg/ruleset.Words */
#define WORDS 4

/* An address of either family; IPv4 as ::ffff:a.b.c.d. Network order. */
struct addr {
	__be32 word[4];
};

/* Connections, seen from the endpoint. Ports in network order; for ICMP echo
 * both hold the identifier. One map for each family: hashing 16 bytes instead
 * of 40 is most of what an established IPv4 packet saves. */
struct conn4_key {
	__be32 local;
	__be32 peer;
	__be16 local_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct conn4_key) == 16, "no holes");

struct conn6_key {
	struct addr local;
	struct addr peer;
	__be16 local_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct conn6_key) == 40, "no holes");

enum conn_flags {
	CONN_OPENER_UNKNOWN = 1, /* found in mid-stream: direction is a guess, denied only if both directions deny */
	CONN_PREEXISTING = 2,    /* put here by user space: open before the probe came */
	CONN_ANNOUNCED = 8,      /* its EVENT_NEW is in the ring */
	CONN_ICMP_ERROR = 16,    /* icmp_errors has the last one */
	CONN_NOT_JUDGED = 32,    /* of a pod on the host's network, where policies don't apply */
};

/* What the next packet of a connection in one direction is looked at for. */
enum await {
	AWAIT_ANSWER = 1, /* any packet */
	AWAIT_BYTE = 2,   /* from here on: packets with payload only */
	AWAIT_HEAD = 4,   /* once, and as many more as AWAIT_MORE says */
	AWAIT_DNS = 8,    /* each */
	AWAIT_MORE = 16,  /* times 1 to 3: what follows a head that was cut */
	AWAIT_FRAMES = 64, /* of it, HTTP/2: until its first HEADERS */
	AWAIT_LINES = 128, /* of it, HTTP/1: until the empty line */
};

/* A count of AWAIT_MORE within an await. */
#define AWAIT_MORE_MASK 48

/* Both verdicts of a connection and what decided them. Bits count from 1,
 * 0: none. Fits two words so that it is copied in two. */
struct judgement {
	__u32 set;
	__u16 bit;
	__u16 candidate_bit;
	__u8 verdict;
	__u8 candidate;
	__u8 alt;           /* the reading that enforcement does not take, if verdict is contested */
	__u8 candidate_alt; /* likewise */
	__u8 drop;          /* the enforced mask denies */
	__u8 service;
	__u8 pad[2];
};
_Static_assert(sizeof(struct judgement) == 16, "two words");

/* Established packets touch the first 56 bytes only, and write none of the first
 * 16 but for a TCP flag that is new. Index 0 of a pair is towards the endpoint. */
struct conn {
	__u32 epoch;   /* of the verdicts; 0: never judged */
	__u8 drop;     /* copy of judgement.drop */
	__u8 direction;
	__u8 await[2];     /* enum await; each is written by packets of its direction only */
	__u8 tcp_flags[2]; /* union of those seen, each way */
	__u16 flags;       /* enum conn_flags */
	__u32 endpoint;
	__u64 packets[2];
	__u64 bytes[2];
	__u64 last_ns; /* coarse monotonic */

	struct judgement judgement;
	__u64 id;            /* unique in the probe's life */
	__u64 first_ns;      /* monotonic */
	__u64 judged_ns;     /* monotonic; when a verdict last changed */
	__u64 dropped;       /* of the packets, by the lease */
	__u64 answer_ns;     /* from the first packet to the first one back; 0: none yet, or the first wasn't seen */
	__u64 first_byte_ns; /* likewise to the first payload from the end that didn't open it */
};
_Static_assert(sizeof(struct conn) == 120, "size of the table depends on it");

/* What packets of one direction have added to a seat. It has a cache line of its
 * own: requests and answers are often seen by two processors, and a line that
 * both write travels between them with every packet, which takes longer than
 * all the rest. Packets and bytes are one word: each locked addition waits for
 * all that the processor has still to write, which on a packet's way is much. */
struct lane {
	__u64 sum;     /* packets << LANE_PACKETS | bytes */
	__u64 last_ns; /* coarse monotonic */
	__u64 pad[6];
};

/* In a lane's sum. Once one of the bits of LANE_FULL is set it is moved to the
 * connection, long before there is a carry. */
#define LANE_PACKETS 40
#define LANE_FULL (1ULL << 63 | 1ULL << (LANE_PACKETS - 1))

/* Where a connection may be found without asking a table: see conns.h. What
 * established packets touch is the first cache line, to read, and their lane.
 * Its counters are conn's and the lanes' together. */
struct seat {
	__u64 key[2];      /* struct conn4_key; the second word 0: free, SEAT_TAKEN: being filled */
	struct conn conn;
	__u64 pad[7];
	struct lane lanes[2];
};
_Static_assert(sizeof(struct seat) == 320 && __builtin_offsetof(struct seat, lanes) == 192, "five cache lines");

/* No key ends so: its padding is 0. */
#define SEAT_TAKEN (~0ULL)

/* An ICMP or ICMPv6 error about a connection. */
struct icmp_error {
	struct addr from;
	__u32 mtu; /* of "too big"; 0: not said */
	__u8 type;
	__u8 code;
	__u8 family; /* 4 or 6 */
	__u8 pad;
};
_Static_assert(sizeof(struct icmp_error) == 24, "no holes");

/* Later fragments have no ports: they are looked up by what they share. */
struct fragment_key {
	struct addr source;
	struct addr dest;
	__be32 id;
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct fragment_key) == 40, "no holes");

/* The tables of a ruleset; see pkg/ruleset. Ports in host order, except
 * where a prefix of the key is matched. */
struct peer {
	__u32 class;
	__u32 flags;
};

struct cidr4_key {
	__u32 bits;
	__be32 addr;
};

struct cidr6_key {
	__u32 bits;
	struct addr addr;
};

struct service_key {
	struct addr addr;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct service_key) == 20, "no holes");

struct service {
	__u32 class;
};

struct port_key {
	__u32 set;
	__u16 port;
	__u8 protocol;
	__u8 pad;
};
_Static_assert(sizeof(struct port_key) == 8, "no holes");

struct range_key {
	__u32 bits; /* 48 + those of the port */
	__be32 set;
	__u8 protocol;
	__u8 pad;
	__be16 port;
};
_Static_assert(sizeof(struct range_key) == 12, "no holes");

struct match_key {
	__u32 set;
	__u32 peer;
	__u32 ports;
};
_Static_assert(sizeof(struct match_key) == 12, "no holes");

struct bitmap {
	__u64 word[WORDS];
};

struct match {
	struct bitmap bits;
	struct bitmap alt;
	__u32 differ; /* 0: alt is the same */
	__u32 open;   /* enum match_open: modes that are contested, whatever alt says */
};

enum set_flags {
	SET_RANGES = 1,
	SET_SAME = 2,      /* candidate equals current: judged once */
	SET_ENFORCED = 4,  /* enforced has a deny bit */
};

enum match_open {
	OPEN_CURRENT = 1,
	OPEN_CANDIDATE = 2,
};

/* Index of set.other. */
enum other_ports {
	OTHER_TCP,
	OTHER_UDP,
	OTHER_SCTP,
	OTHER_ALL,
	OTHER_MAX,
};

struct set {
	struct bitmap always;
	struct bitmap deny;
	struct bitmap pass;
	struct bitmap current;
	struct bitmap candidate;
	struct bitmap enforced;
	__u16 admin_end;
	__u16 isolate_start;
	__u16 baseline_start;
	__u16 flags;
	/* Classes of the ports that nothing names, so that most packets need one
	 * look-up in ports and not three. User space keeps them equal to the
	 * entries for port 0. */
	__u16 other[OTHER_MAX];
	__u32 id; /* 0: nothing judges */
	__u32 pad;
};
_Static_assert(sizeof(struct set) == 216, "no holes");

/* What judges an address stands with it: one look-up less for each new flow,
 * and user space replaces all of it at once. */
struct endpoint {
	__u32 id;
	__u32 young_s; /* monotonic seconds until which it may get answers to what it asked before it was watched */
	struct set ingress;
	struct set egress;
};
_Static_assert(sizeof(struct endpoint) == 440, "no holes");

/* What happened, for user space. */
enum event_kind {
	EVENT_NEW = 1,
	EVENT_VERDICT = 2,
	EVENT_CLOSE = 3, /* the same addresses and ports were opened anew; counters are final */
	EVENT_DROP = 4,  /* sample of packets dropped by the lease: the 1st, 2nd, 4th, 8th, ... of a connection */
	EVENT_HEAD = 5, /* struct head */
	EVENT_ICMP = 6, /* icmp_errors has news of the connection */
};

/* EVENT_NEW has struct opening, the others the connection as it is. Both begin
 * alike, and are as short as can be: the ring is memory that no cache has. */
struct opening {
	__u64 time_ns; /* monotonic, of the first packet */
	__u32 kind;    /* EVENT_NEW */
	__u32 bytes;
	struct addr local;
	struct addr peer;
	__be16 local_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 first; /* of its packets: 1: leaves the endpoint, + 2: the lease drops it */
	__u8 tcp_flags;
	__u8 direction; /* of the connection */
	struct judgement judgement;
	__u64 conn; /* its id */
	__u32 endpoint;
	__u16 flags;
	__u16 packets; /* that the first one stands for */
};
_Static_assert(sizeof(struct opening) == 88, "no holes");

struct event {
	__u64 time_ns; /* monotonic */
	__u32 kind;
	__u32 length; /* EVENT_DROP: of the packet */
	struct addr local;
	struct addr peer;
	__be16 local_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 family; /* 4 or 6 */
	__u8 direction; /* of the packet, EVENT_DROP */
	__u8 pad;
	struct conn conn;
};
_Static_assert(sizeof(struct event) == 176, "no holes");

/* The first bytes of a payload; begins as struct event does. The data follows,
 * in records of two sizes, so that a question for a name doesn't take the room
 * of a page of answers. */
#define HEAD_SHORT 256
#define HEAD_LONG 1024
struct head {
	__u64 time_ns; /* monotonic */
	__u32 kind;    /* EVENT_HEAD */
	__u32 length;  /* of the data that follows; at most HEAD_LONG */
	struct addr local;
	struct addr peer;
	__be16 local_port;
	__be16 peer_port;
	__u8 protocol;
	__u8 family;
	__u8 direction; /* of the packet */
	__u8 opened;    /* direction of the connection */
	__u64 conn; /* its id */
	__u32 endpoint;
	__u32 payload; /* of the packet, bytes */
};
_Static_assert(sizeof(struct head) == 72, "no holes");

/* Counters on each CPU; all grow only. */
struct counts {
	__u64 ring_full;
	__u64 table_full;
	__u64 untracked_packets;
	__u64 untracked_bytes;
	__u64 unwatched;    /* packets of an address that is no endpoint */
	__u64 not_ip;       /* other kinds of packet, such as ARP */
	__u64 cut_short;    /* headers that end before they should, or too many of them */
	__u64 fragment_lost; /* later fragments whose first wasn't seen */
	__u64 neighbour;    /* neighbour discovery and multicast listeners: never judged */
	__u64 related;      /* ICMP errors that belong to a connection */
	__u64 unrelated;    /* ICMP errors that don't, ends of connections never seen */
	__u64 enforced_packets;
	__u64 ids;          /* connections numbered */
	__u64 heads_left_out; /* payloads that were more than heads_per_second */
	__u64 heads_since;  /* not a count: start of the second, monotonic, in which ... */
	__u64 heads_taken;  /* ... so many were read */
};

/* skb->mark of what the lease drops, so that it isn't reported twice. */
#define MARK_ENFORCED 0x65627064 /* "ebpd" */
