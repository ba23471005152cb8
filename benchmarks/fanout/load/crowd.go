package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

const (
	every      = 97 // of so many sockets one is timed and checked for gaps
	slowPause  = 250 * time.Millisecond
	slowBytes  = 2048  // each pause, which makes 8 KiB a second
	stuckBytes = 4096  // the receive buffer of sockets that are to be stuck
	slowBuffer = 32768 // and of those that are to be slow: with less the kernel hardly opens the window
)

// socket is a client: where its parser of server frames (RFC 6455, 5.2) stands, and what it has got.
type socket struct {
	header  [10]byte
	got     int // bytes of the header
	left    int // bytes of the payload that are to come
	text    bool
	watched bool
	frame   []byte
	channel int64
	last    int64
	gaps    int64
}

type crowd struct {
	epoll     int
	sockets   map[int]*socket
	byFD      []*socket
	readers   []int64 // by channel
	total     int64
	frames    int64
	closed    int64
	latencies []int64
	buffer    []byte
	ready     []syscall.EpollEvent
	to        syscall.SockaddrInet4

	stuck      []int
	slow       []int
	slowAt     time.Time
	slowClosed int
}

func newCrowd() *crowd {
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		panic(err)
	}
	where, err := net.ResolveTCPAddr("tcp4", *addr)
	if err != nil {
		panic(err)
	}
	made := &crowd{epoll: epoll, sockets: map[int]*socket{}, byFD: make([]*socket, 1<<17), readers: make([]int64, *channels),
		buffer: make([]byte, 1<<20), ready: make([]syscall.EpollEvent, 1024), to: syscall.SockaddrInet4{Port: where.Port}}
	copy(made.to.Addr[:], where.IP.To4())
	return made
}

// add connects and subscribes one more; beyond the wanted number come those that read nothing, then those that read slowly.
func (c *crowd) add(number int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	isStuck, isSlow := number >= *sockets && number < *sockets+*stuck, number >= *sockets+*stuck
	if isStuck {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, stuckBytes)
	} else if isSlow {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, slowBuffer)
	}
	if err := syscall.Connect(fd, &c.to); err != nil {
		return err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	rest, err := shake(fd)
	if err != nil {
		return err
	}
	channel := number % *channels
	if first := greeting(channel, number / *channels % *views); first != "" {
		if _, err := syscall.Write(fd, masked(first)); err != nil {
			return err
		}
	}
	if isStuck {
		c.stuck = append(c.stuck, fd)
		return nil
	}
	if isSlow {
		c.slow = append(c.slow, fd)
		return syscall.SetNonblock(fd, true)
	}
	one := &socket{channel: int64(channel), watched: number%every == every/2 || *sockets < every}
	c.readers[channel]++
	c.sockets[fd], c.byFD[fd] = one, one
	c.feed(one, rest)
	_ = syscall.SetNonblock(fd, true)
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

func shake(fd int) ([]byte, error) {
	path, more := "/", ""
	switch *kind {
	case "eventhub":
		path, more = "/v1/stream", "Sec-WebSocket-Protocol: eventhub.v1+json\r\nAuthorization: Bearer "+*token+"\r\n"
	case "centrifuge":
		path = "/connection/websocket"
	case "socketio":
		path = "/socket.io/?EIO=4&transport=websocket"
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + *addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + more + "\r\n"
	if _, err := syscall.Write(fd, []byte(request)); err != nil {
		return nil, err
	}
	var answer []byte
	part := make([]byte, 4096)
	for {
		n, err := syscall.Read(fd, part)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("no answer to the handshake: %w", err)
		}
		answer = append(answer, part[:n]...)
		if end := bytes.Index(answer, []byte("\r\n\r\n")); end >= 0 {
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101")) {
				return nil, errors.New(string(answer))
			}
			return answer[end+4:], nil
		}
	}
}

func greeting(channel, view int) string {
	switch *kind {
	case "eventhub":
		wanted := ""
		if view > 0 {
			// Every view lets all of this load pass, so that deliveries are the same.
			wanted = `,"types":["pass","` + []string{"shot", "foul", "goal"}[view%3] + `"]`
		}
		return `{"id":1,"type":"connect"}` + "\n" + `{"id":2,"type":"subscribe","channel":"match:m` + strconv.Itoa(channel+1) + `"` + wanted + `}`
	case "centrifuge":
		return `{"connect":{},"id":1}` + "\n" + `{"subscribe":{"channel":"bench"},"id":2}`
	case "socketio":
		return "40"
	}
	return ""
}

// masked is a client's text frame; a mask of zeros is one.
func masked(text string) []byte {
	frame := []byte{0x81}
	if len(text) < 126 {
		frame = append(frame, 0x80|byte(len(text)))
	} else {
		frame = append(frame, 0x80|126)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(text)))
	}
	return append(append(frame, 0, 0, 0, 0), text...)
}

// begin forgets what came before the load.
func (c *crowd) begin() {
	c.total, c.frames, c.latencies = 0, 0, make([]int64, 0, 1<<22)
}

func (c *crowd) readFor(length time.Duration) {
	for start := time.Now(); time.Since(start) < length; {
		c.read(20)
	}
}

// readSlowly lets each slow socket read a little, when it is time.
func (c *crowd) readSlowly() {
	if len(c.slow) == 0 || time.Since(c.slowAt) < slowPause {
		return
	}
	c.slowAt = time.Now()
	for i, fd := range c.slow {
		if fd < 0 {
			continue
		}
		size, err := syscall.Read(fd, c.buffer[:slowBytes])
		if size == 0 || (err != nil && err != syscall.EAGAIN && err != syscall.EINTR) {
			c.slow[i] = -1
			c.slowClosed++
			syscall.Close(fd)
		}
	}
}

// stuckFreed is how many of the stuck sockets the server has cut: writing to those fails, at the latest the second time.
func (c *crowd) stuckFreed() int {
	freed, pong := map[int]bool{}, []byte{0x8a, 0x80, 0, 0, 0, 0}
	for range 2 {
		for _, fd := range c.stuck {
			_ = syscall.SetNonblock(fd, true)
			if _, err := syscall.Write(fd, pong); err != nil && err != syscall.EAGAIN {
				freed[fd] = true
			}
		}
		time.Sleep(slowPause)
	}
	return len(freed)
}

func (c *crowd) read(waitMs int) {
	c.readSlowly()
	if *poll > 0 {
		waitMs = 0
	}
	n, err := syscall.EpollWait(c.epoll, c.ready, waitMs)
	if err != nil {
		return
	}
	if n == 0 && *poll > 0 {
		time.Sleep(*poll)
	}
	for i := 0; i < n; i++ {
		fd := int(c.ready[i].Fd)
		size, err := syscall.Read(fd, c.buffer)
		if err == syscall.EAGAIN || err == syscall.EINTR {
			continue
		}
		if err != nil || size == 0 {
			c.closed++
			syscall.Close(fd)
			continue
		}
		c.feed(c.byFD[fd], c.buffer[:size])
	}
}

func (c *crowd) feed(one *socket, data []byte) {
	for len(data) > 0 {
		if one.left == 0 {
			one.header[one.got] = data[0]
			one.got++
			data = data[1:]
			one.head(c)
			continue
		}
		part := data[:min(one.left, len(data))]
		if one.text {
			c.total += int64(bytes.Count(part, []byte{'\n'}))
			if one.watched {
				one.frame = append(one.frame, part...)
			}
		}
		one.left -= len(part)
		data = data[len(part):]
		if one.left == 0 && one.text && one.watched {
			c.look(one)
		}
	}
}

// head looks whether the header is whole.
func (s *socket) head(c *crowd) {
	if s.got < 2 {
		return
	}
	length, need := int(s.header[1]&0x7f), 2
	switch length {
	case 126:
		need = 4
	case 127:
		need = 10
	}
	if s.got < need {
		return
	}
	switch need {
	case 4:
		length = int(binary.BigEndian.Uint16(s.header[2:]))
	case 10:
		length = int(binary.BigEndian.Uint64(s.header[2:]))
	}
	s.got, s.left, s.frame = 0, length, s.frame[:0]
	s.text = s.header[0]&15 < 8
	if s.text {
		c.frames++
		c.total++
	}
}

// look reads number and time of every message of a frame.
func (c *crowd) look(one *socket) {
	now, rest := time.Now().UnixMicro(), one.frame
	for {
		at := bytes.Index(rest, []byte(`"n":`))
		if at < 0 {
			return
		}
		rest = rest[at+4:]
		comma := bytes.IndexByte(rest, ',')
		if comma < 0 || len(rest) < comma+21 || string(rest[comma+1:comma+5]) != `"t":` {
			continue
		}
		number, _ := strconv.ParseInt(string(rest[:comma]), 10, 64)
		sent, _ := strconv.ParseInt(string(rest[comma+5:comma+21]), 10, 64)
		if one.last != 0 && number != one.last+int64(*channels) {
			one.gaps++
		}
		one.last = number
		c.latencies = append(c.latencies, now-sent)
	}
}

func (c *crowd) gaps() int64 {
	var all int64
	for _, one := range c.sockets {
		all += one.gaps
	}
	return all
}

func (c *crowd) quantile(part float64) float64 {
	if len(c.latencies) == 0 {
		return -1
	}
	return float64(c.latencies[int(part*float64(len(c.latencies)-1))]) / 1000
}
