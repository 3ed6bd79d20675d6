package jobcheck

import (
	"encoding/binary"
	"math/bits"

	"github.com/google/uuid"
	"golang.org/x/mod/sumdb/tlog"
)

// An ident is a UUID with its digits in another order, in which they are read
// fast: of its 32 digits, each byte of the first word holds one of the first
// eight and one of the next eight.
type ident struct{ a, b uint64 }

// idSize is the length of a UUID's text.
const idSize = 36

// readID reads a lower-case UUID. bad is 0 if that is what the text is.
func readID(t *[idSize]byte) (id ident, bad uint64) {
	le := binary.LittleEndian
	high, bad0 := digits(le.Uint64(t[0:]))
	low, bad1 := digits(uint64(le.Uint32(t[9:])) | uint64(le.Uint32(t[14:]))<<32)
	id.a = high<<4 | low
	high, bad2 := digits(uint64(le.Uint32(t[19:])) | uint64(le.Uint32(t[24:]))<<32)
	low, bad3 := digits(le.Uint64(t[28:]))
	id.b = high<<4 | low
	dashes := uint64((t[8] ^ '-') | (t[13] ^ '-') | (t[18] ^ '-') | (t[23] ^ '-'))
	return id, bad0 | bad1 | bad2 | bad3 | dashes
}

// digits gives the values of eight lower-case hexadecimal digits, each in the
// byte where it was. bad is 0 if that is what they are.
func digits(x uint64) (v, bad uint64) {
	const ones = 0x0101010101010101
	v = x&(0x0f*ones) + x>>6&ones*9 // letters have bit 6
	letters := (v + 6*ones) >> 4 & ones
	return v, v&(0xf0*ones) | (x ^ (v + 0x30*ones + letters*('a'-'0'-10)))
}

// identOf is the ident of a UUID.
func identOf(id uuid.UUID) (out ident) {
	var t [16]byte
	for i := range 4 {
		for k := range 2 { // of the digits 0 to 7 of a word one stands high, of 8 to 15 low
			high, low := id[8*k+i], id[8*k+4+i]
			t[8*k+2*i] = high&0xf0 | low>>4
			t[8*k+2*i+1] = high<<4 | low&0x0f
		}
	}
	return ident{binary.LittleEndian.Uint64(t[:]), binary.LittleEndian.Uint64(t[8:])}
}

// uuid is the inverse of identOf.
func (id ident) uuid() (out uuid.UUID) {
	var t [16]byte
	id.put(t[:])
	for i := range 4 {
		for k := range 2 {
			even, odd := t[8*k+2*i], t[8*k+2*i+1]
			out[8*k+i] = even&0xf0 | odd>>4
			out[8*k+4+i] = even<<4 | odd&0x0f
		}
	}
	return out
}

func (id ident) put(b []byte) {
	binary.LittleEndian.PutUint64(b[:8], id.a)
	binary.LittleEndian.PutUint64(b[8:16], id.b)
}

func identAt(b []byte, at int) ident { return ident{word(b, at), word(b, at+8)} }

// A digest is a hash as four words, the first byte highest.
type digest struct{ a, b, c, d uint64 }

// hashSize is the length of a hash in base64.
const hashSize = 44

func digestOf(h *tlog.Hash) digest {
	be := binary.BigEndian
	return digest{be.Uint64(h[0:]), be.Uint64(h[8:]), be.Uint64(h[16:]), be.Uint64(h[24:])}
}

// readHash reads a hash in standard base64, eight characters, 48 bits, at a
// time.
func readHash(t *[hashSize]byte) (h digest, ok bool) {
	v0, bad0 := digits64((*[8]byte)(t[0:]))
	v1, bad1 := digits64((*[8]byte)(t[8:]))
	v2, bad2 := digits64((*[8]byte)(t[16:]))
	v3, bad3 := digits64((*[8]byte)(t[24:]))
	v4, bad4 := digits64((*[8]byte)(t[32:]))
	last := base64Bits[0][t[40]] | base64Bits[1][t[41]] | base64Bits[2][t[42]]
	bad := bad0 | bad1 | bad2 | bad3 | bad4 | last | last<<24 // what is beyond the hash is zero
	h = digest{v0<<16 | v1>>32, v1<<32 | v2>>16, v2<<48 | v3, v4<<16 | uint64(last>>8)}
	return h, bad < 1<<24 && t[43] == '='
}

// digits64 gives the 48 bits of eight characters. bad has none of its highest
// eight bits if that is what they are.
func digits64(c *[8]byte) (v uint64, bad uint32) {
	high := base64Bits[0][c[0]] | base64Bits[1][c[1]] | base64Bits[2][c[2]] | base64Bits[3][c[3]]
	low := base64Bits[0][c[4]] | base64Bits[1][c[5]] | base64Bits[2][c[6]] | base64Bits[3][c[7]]
	return uint64(high)<<24 | uint64(low), high | low
}

// base64Bits holds what each character is in each place of four, and more than
// 24 bits for those that are no digits.
var base64Bits = func() (digits [4][256]uint32) {
	for place := range digits {
		for i := range digits[place] {
			digits[place][i] = 1 << 31
		}
		for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
			digits[place][c] = uint32(i) << (18 - 6*place)
		}
	}
	return digits
}()

// mixer makes 64-bit fingerprints. Its seed is random, so that
// records cannot be written to have the same fingerprint.
type mixer [4]uint64

func (m *mixer) id(id ident) uint64 {
	hi, lo := bits.Mul64(id.a^m[0], id.b^m[1])
	return hi ^ lo
}

func (m *mixer) hash(h digest) uint64 {
	hi, lo := bits.Mul64(h.a^m[0], h.b^m[1])
	hi2, lo2 := bits.Mul64(h.c^m[2], h.d^m[3])
	return hi ^ lo ^ bits.RotateLeft64(hi2^lo2, 17)
}
