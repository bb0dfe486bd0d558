package api

import "sync"

const (
	// smallText is the size in bytes up to which a body is read, and checked for its form, before anybody asks who
	// sent it. It is one short and one long chunk.
	smallText = shortChunk + longChunk
	// smallCost is what a body may take, in bytes, to count as a small one.
	smallCost = 64 << 10
	// openText bounds the body of a request to an engine that needs no token: logins. The largest seen are tokens of
	// identity providers with many groups, some ten kilobytes.
	openText = 256 << 10
	// operatorText bounds the body of an operator's request. The largest are 255 PGP keys of some kilobytes each.
	operatorText = 2 << 20
)

// BodyGate bounds the memory that requests take for their bodies: the text, what it becomes when it is decoded, and
// what is made of that. Each request holds a share of it, which grows as the body arrives, until it is answered.
//
// The gate has a pool for each kind of body, so that one kind never waits for another:
//   - tiny ones, of one short chunk, which nearly all are. There is room for one on each stream of each connection that
//     a listener has at most, so that bodies which do not come keep none of them waiting;
//   - small ones;
//   - dense ones: of few bytes but many values. They wait for nobody's network;
//   - open ones: larger ones that need no token, so that strangers keep nobody out but strangers;
//   - large ones, of clients whose token is good.
//
// A further pool pays for what requests read and answer, unless that is very large: who sends a large body may take
// half a minute for it.
type BodyGate struct {
	tiny, small, dense, open, large, answers *pool
	// decoding is held while a body of several chunks is decoded: what is left over by that stays that of one body.
	decoding sync.Mutex
}

// NewBodyGate returns a gate for bodies of up to largest bytes. It bounds the memory of all of them to about
// largest + 64 MiB.
func NewBodyGate(largest int64) *BodyGate {
	g := &BodyGate{
		tiny:    newPool(shortChunk+smallCost, 16<<20),
		small:   newPool(smallText+smallCost, 8<<20),
		dense:   newPool(4<<20, 4<<20),
		open:    newPool(4<<20, 4<<20),
		large:   newPool(max(largest, 8<<20)+4<<20, 12<<20),
		answers: newPool(2<<20, 4<<20),
	}
	g.tiny.maxWaiting, g.small.maxWaiting = maxWaitingSmall, maxWaitingSmall
	return g
}

// The chunks that bodies are read into. They are wiped before they are used again.
const (
	shortChunk = 4 << 10
	longChunk  = 32 << 10
)

var (
	shortChunks = sync.Pool{New: func() any { return new([shortChunk]byte) }}
	longChunks  = sync.Pool{New: func() any { return new([longChunk]byte) }}
)

// newChunk returns an empty chunk with room for n bytes, or for longChunk when n is more or unknown (-1).
func newChunk(n int64) []byte {
	if n >= 0 && n <= shortChunk {
		if c, ok := shortChunks.Get().(*[shortChunk]byte); ok {
			return c[:0]
		}
		return make([]byte, 0, shortChunk)
	}
	if c, ok := longChunks.Get().(*[longChunk]byte); ok {
		return c[:0]
	}
	return make([]byte, 0, longChunk)
}

// dropChunk wipes a chunk and keeps it for the next body.
func dropChunk(b []byte) {
	clear(b)
	switch cap(b) {
	case shortChunk:
		shortChunks.Put((*[shortChunk]byte)(b[:shortChunk]))
	case longChunk:
		longChunks.Put((*[longChunk]byte)(b[:longChunk]))
	}
}
