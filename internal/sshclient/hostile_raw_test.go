package sshclient

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"

	"golang.org/x/crypto/ssh"
)

// The numbers of messages (RFC 4250).
const (
	msgDisconnect     = 1
	msgIgnore         = 2
	msgDebug          = 4
	msgServiceRequest = 5
	msgServiceAccept  = 6
	msgKexInit        = 20
	msgNewKeys        = 21
	msgKexReply       = 31
	msgAuthRequest    = 50
	msgAuthFailure    = 51
	msgAuthSuccess    = 52
	msgAuthBanner     = 53
	msgInfoRequest    = 60
	msgInfoResponse   = 61
	msgGlobalRequest  = 80
	msgGlobalSuccess  = 81
	msgChannelOpen    = 90
	msgOpenConfirm    = 91
	msgOpenFailure    = 92
	msgWindowAdjust   = 93
	msgData           = 94
	msgExtendedData   = 95
	msgEOF            = 96
	msgClose          = 97
	msgRequest        = 98
	msgSuccess        = 99
	msgFailure        = 100
	msgPing           = 192
)

// A rawPeer is the server's side of an SSH connection, message by message: it
// sends what the server of the ssh package never would. Its methods end the
// goroutine when the client is gone.
type rawPeer struct {
	*stage
	conn      net.Conn
	in        *bufio.Reader
	key       ssh.Signer
	host      *hostileHost
	held      *bytes.Buffer // by atOnce
	sealing   *direction
	opening   *direction
	sessionID []byte
	versions  [2][]byte // client's, server's
}

// A direction seals or opens packets with aes128-gcm@openssh.com (RFC 5647).
type direction struct {
	cipher.AEAD
	nonce []byte
}

func (d *direction) next() []byte {
	nonce := append([]byte(nil), d.nonce...)
	binary.BigEndian.PutUint64(d.nonce[4:], binary.BigEndian.Uint64(d.nonce[4:])+1)
	return nonce
}

func newRawPeer(conn net.Conn, h *hostileHost) *rawPeer {
	return &rawPeer{stage: h.stage, host: h, conn: conn, in: bufio.NewReader(conn), key: h.key}
}

// another returns a key that is not the host's.
func (p *rawPeer) another() ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	p.must(err)
	key, err := ssh.NewSignerFromSigner(private)
	p.must(err)
	return key
}

func (p *rawPeer) must(err error) {
	if err != nil {
		p.conn.Close()
		runtime.Goexit()
	}
}

// write writes bytes unchanged.
func (p *rawPeer) write(text []byte) {
	if p.held != nil {
		p.held.Write(text)
		return
	}
	_, err := p.conn.Write(text)
	p.must(err)
}

// atOnce sends what f writes in one piece.
func (p *rawPeer) atOnce(f func()) {
	held := &bytes.Buffer{}
	p.held = held
	f()
	p.held = nil
	p.write(held.Bytes())
}

func (p *rawPeer) exchangeVersions() {
	p.versions[1] = []byte("SSH-2.0-hostile")
	p.write(append(p.versions[1], '\r', '\n'))
	line, err := p.in.ReadBytes('\n')
	p.must(err)
	p.versions[0] = line[:len(line)-2]
}

type kexInit struct {
	Cookie                                                                 [16]byte `sshtype:"20"`
	Kex, HostKey, CipherC, CipherS, MACC, MACS, CompC, CompS, LangC, LangS []string
	FirstFollows                                                           bool
	Reserved                                                               uint32
}

func (p *rawPeer) kexInit() []byte {
	gcm, none := []string{"aes128-gcm@openssh.com"}, []string{"none"}
	return ssh.Marshal(kexInit{
		Kex: []string{"curve25519-sha256"}, HostKey: []string{ssh.KeyAlgoED25519},
		CipherC: gcm, CipherS: gcm, MACC: []string{"hmac-sha2-256"}, MACS: []string{"hmac-sha2-256"}, CompC: none, CompS: none,
	})
}

// exchangeKeys does a whole key exchange or, without reply, one that ends before the server's
// answer.
func (p *rawPeer) exchangeKeys(reply bool) {
	mine := p.kexInit()
	p.send(mine)
	theirs := p.receiveOne(msgKexInit)
	init := p.receiveOne(30)
	if !reply {
		return
	}
	var ephemeral struct{ Key []byte }
	p.must(ssh.Unmarshal(init[1:], &ephemeral))
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	p.must(err)
	public, err := ecdh.X25519().NewPublicKey(ephemeral.Key)
	p.must(err)
	secret, err := own.ECDH(public)
	p.must(err)
	k := ssh.Marshal(struct{ K *big.Int }{new(big.Int).SetBytes(secret)})
	hostKey := p.key.PublicKey().Marshal()
	digest := sha256.Sum256(append(ssh.Marshal(struct {
		ClientVersion, ServerVersion, ClientInit, ServerInit, HostKey, Client, Server []byte
	}{p.versions[0], p.versions[1], theirs, mine, hostKey, ephemeral.Key, own.PublicKey().Bytes()}), k...))
	hash := digest[:]
	signature, err := p.key.Sign(rand.Reader, hash)
	p.must(err)
	p.send(append([]byte{msgKexReply}, ssh.Marshal(struct{ HostKey, Server, Signature []byte }{hostKey, own.PublicKey().Bytes(), ssh.Marshal(signature)})...))
	p.send([]byte{msgNewKeys})
	p.receiveOne(msgNewKeys)
	if p.sessionID == nil {
		p.sessionID = hash
	}
	derive := func(letter byte, size int) []byte {
		sum := sha256.Sum256(append(append(append(append([]byte(nil), k...), hash...), letter), p.sessionID...))
		return sum[:size]
	}
	p.opening, p.sealing = p.direction(derive('C', 16), derive('A', 12)), p.direction(derive('D', 16), derive('B', 12))
}

func (p *rawPeer) direction(key, nonce []byte) *direction {
	block, err := aes.NewCipher(key)
	p.must(err)
	aead, err := cipher.NewGCM(block)
	p.must(err)
	return &direction{aead, nonce}
}

// acceptService answers the request for ssh-userauth.
func (p *rawPeer) acceptService() {
	p.receiveOne(msgServiceRequest)
	p.send(append([]byte{msgServiceAccept}, ssh.Marshal(struct{ Name string }{"ssh-userauth"})...))
}

// login accepts any client.
func (p *rawPeer) login() {
	p.exchangeVersions()
	p.exchangeKeys(true)
	p.acceptService()
	p.receiveOne(msgAuthRequest)
	p.send([]byte{msgAuthSuccess})
}

// openSession confirms the next session, with the given window and packet size.
func (p *rawPeer) openSession(window, packet uint32) (client uint32) {
	var open struct {
		Type           string
		ID             uint32
		Window, Packet uint32
		Rest           []byte `ssh:"rest"`
	}
	p.must(ssh.Unmarshal(p.receiveOne(msgChannelOpen)[1:], &open))
	p.confirm(open.ID, window, packet)
	return open.ID
}

func (p *rawPeer) confirm(id, window, packet uint32) {
	p.send(append([]byte{msgOpenConfirm}, ssh.Marshal(struct{ Theirs, Mine, Window, Packet uint32 }{id, 7, window, packet})...))
}

// shell answers the next request for a program of a session.
func (p *rawPeer) shell(id uint32) {
	p.receiveOne(msgRequest)
	p.send(to(msgSuccess, id, nil))
}

// to returns a message for a channel.
func to(message byte, id uint32, rest any) []byte {
	packet := binary.BigEndian.AppendUint32([]byte{message}, id)
	if rest != nil {
		packet = append(packet, ssh.Marshal(rest)...)
	}
	return packet
}

type channelData struct{ Data []byte }

type channelRequest struct {
	Name  string
	Reply bool
	Rest  []byte `ssh:"rest"`
}

// send sends a message.
func (p *rawPeer) send(payload []byte) {
	block, before := 16, 1 // the length is not encrypted, and does not count
	if p.sealing == nil {
		block, before = 8, 5
	}
	padding := block - (before+len(payload))%block
	if padding < 4 {
		padding += block
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	packet = append(append(append(packet, byte(padding)), payload...), make([]byte, padding)...)
	if p.sealing != nil {
		packet = p.sealing.Seal(packet[:4], p.sealing.next(), packet[4:], packet[:4])
	}
	p.write(packet)
}

var errTooLong = errors.New("the packet is too long")

// receive returns the next message.
func (p *rawPeer) receive() []byte {
	length := make([]byte, 4)
	_, err := io.ReadFull(p.in, length)
	p.must(err)
	size := binary.BigEndian.Uint32(length)
	if size > 1<<20 {
		p.must(errTooLong)
	}
	if p.opening != nil {
		size += 16
	}
	packet := make([]byte, size)
	_, err = io.ReadFull(p.in, packet)
	p.must(err)
	if p.opening != nil {
		packet, err = p.opening.Open(packet[:0], p.opening.next(), packet, length)
		p.must(err)
	}
	payload := packet[1 : len(packet)-int(packet[0])]
	heard := &p.host.heard
	if payload[0] == msgAuthRequest || payload[0] == msgInfoResponse {
		heard = &p.host.logins
	}
	_, err = heard.Write(payload)
	p.must(err)
	return payload
}

// receiveOne drops messages until one of the given kind.
func (p *rawPeer) receiveOne(kind byte) []byte {
	for {
		if payload := p.receive(); payload[0] == kind {
			return payload
		}
	}
}
