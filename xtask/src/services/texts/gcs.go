// Google Cloud Storage in memory: fake-gcs-server, with the half of the XML API that it lacks and
// that clients in Rust speak: puts under a condition, uploads in parts, lists by pages.
package main

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// Objects and prefixes in one answer of a list, at most.
const pageMax = 1000

type server struct {
	store *fakestorage.Server
	// The other API: whatever is not done here.
	json http.Handler
	// A condition is looked at and the object written by one request at a time.
	writing sync.Mutex
	uploads map[string]map[int][]byte
	begun   int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case bucket == "" || bucket == "storage" || bucket == "upload" || bucket == "download" || bucket == "_internal":
		s.json.ServeHTTP(w, r)
	case r.Method == http.MethodGet && name == "":
		s.list(w, r, bucket)
	case r.Method == http.MethodPost && query.Has("uploads"):
		s.begin(w, bucket)
	case query.Has("uploadId"):
		s.upload(w, r, bucket, name)
	case r.Method == http.MethodPut && r.Header.Get("x-goog-copy-source") != "":
		refuse(w, http.StatusNotImplemented, "NotImplemented")
	case r.Method == http.MethodPut && name != "":
		if content, ok := body(w, r); ok {
			s.put(w, r, fakestorage.ObjectAttrs{BucketName: bucket, Name: name}, content)
		}
	default:
		s.json.ServeHTTP(w, r)
	}
}

// put creates or overwrites an object, unless its generation is another one than the request asks for.
func (s *server) put(w http.ResponseWriter, r *http.Request, attrs fakestorage.ObjectAttrs, content []byte) bool {
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.hasBucket(attrs.BucketName) {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return false
	}
	if wanted := r.Header.Get("x-goog-if-generation-match"); wanted != "" {
		generation := int64(0)
		if there, err := s.store.GetObject(attrs.BucketName, attrs.Name); err == nil {
			generation = there.Generation
		}
		if wanted != strconv.FormatInt(generation, 10) {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return false
		}
	}
	attrs.ContentType = r.Header.Get("Content-Type")
	attrs.ContentEncoding = r.Header.Get("Content-Encoding")
	s.store.CreateObject(fakestorage.Object{ObjectAttrs: attrs, Content: content})
	made, err := s.store.GetObject(attrs.BucketName, attrs.Name)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError")
		return false
	}
	w.Header().Set("ETag", strconv.Quote(made.Etag))
	w.Header().Set("x-goog-generation", strconv.FormatInt(made.Generation, 10))
	return true
}

func (s *server) hasBucket(bucket string) bool {
	_, err := s.store.Backend().GetBucket(bucket)
	return err == nil
}

// begin opens an upload in parts, which nobody sees before it is complete.
func (s *server) begin(w http.ResponseWriter, bucket string) {
	if !s.hasBucket(bucket) {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	s.writing.Lock()
	s.begun++
	id := "upload-" + strconv.Itoa(s.begun)
	s.uploads[id] = map[int][]byte{}
	s.writing.Unlock()
	answer(w, struct {
		XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
		UploadId string
	}{UploadId: id})
}

func (s *server) upload(w http.ResponseWriter, r *http.Request, bucket, name string) {
	content, ok := body(w, r)
	if !ok {
		return
	}
	id := r.URL.Query().Get("uploadId")
	s.writing.Lock()
	parts, known := s.uploads[id]
	if known && r.Method == http.MethodPut {
		number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
		parts[number] = content
	}
	if known && r.Method != http.MethodPut {
		delete(s.uploads, id)
	}
	s.writing.Unlock()
	switch {
	case !known:
		refuse(w, http.StatusNotFound, "NoSuchUpload")
	case r.Method == http.MethodPut:
		sum := md5.Sum(content)
		w.Header().Set("ETag", strconv.Quote(hex.EncodeToString(sum[:])))
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.complete(w, r, fakestorage.ObjectAttrs{BucketName: bucket, Name: name}, parts, content)
	}
}

// complete makes an object of the parts that the request names, in its order.
func (s *server) complete(w http.ResponseWriter, r *http.Request, attrs fakestorage.ObjectAttrs, parts map[int][]byte, request []byte) {
	var wanted struct {
		Part []struct{ PartNumber int }
	}
	if err := xml.Unmarshal(request, &wanted); err != nil {
		refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var whole []byte
	for _, part := range wanted.Part {
		content, there := parts[part.PartNumber]
		if !there {
			refuse(w, http.StatusBadRequest, "InvalidPart")
			return
		}
		whole = append(whole, content...)
	}
	if s.put(w, r, attrs, whole) {
		answer(w, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
			ETag    string
		}{ETag: w.Header().Get("ETag")})
	}
}

type object struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
}

type prefix struct{ Prefix string }

// list answers a page of a bucket's names, objects and what is common to several of them.
func (s *server) list(w http.ResponseWriter, r *http.Request, bucket string) {
	if !s.hasBucket(bucket) {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	query := r.URL.Query()
	options := fakestorage.ListOptions{Prefix: query.Get("prefix"), Delimiter: query.Get("delimiter")}
	objects, prefixes, err := s.store.ListObjectsWithOptions(bucket, options)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError")
		return
	}
	found := map[string]*object{}
	var names []string
	for _, one := range objects {
		found[one.Name] = &object{one.Name, one.Updated.UTC().Format(time.RFC3339Nano), strconv.Quote(one.Etag), one.Size}
		names = append(names, one.Name)
	}
	names = append(names, prefixes...)
	sort.Strings(names)
	// A page begins behind the last name of the one before, which is its token.
	after := max(query.Get("continuation-token"), query.Get("start-after"))
	names = names[sort.Search(len(names), func(at int) bool { return names[at] > after }):]
	most := pageMax
	if asked, err := strconv.Atoi(query.Get("max-keys")); err == nil && asked < most {
		most = asked
	}
	page := struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name                  string
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []object
		CommonPrefixes        []prefix
	}{Name: bucket, IsTruncated: len(names) > most}
	if page.IsTruncated {
		names = names[:most]
		page.NextContinuationToken = names[most-1]
	}
	for _, name := range names {
		if one := found[name]; one != nil {
			page.Contents = append(page.Contents, *one)
		} else {
			page.CommonPrefixes = append(page.CommonPrefixes, prefix{name})
		}
	}
	answer(w, page)
}

func body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "IncompleteBody")
	}
	return content, err == nil
}

func answer(w http.ResponseWriter, page any) {
	w.Header().Set("Content-Type", "application/xml")
	if err := xml.NewEncoder(w).Encode(page); err != nil {
		log.Print(err)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	io.WriteString(w, "<Error><Code>"+code+"</Code></Error>")
}

func main() {
	// Where to listen, and a bucket that is there from the beginning.
	address, bucket := os.Args[1], os.Args[2]
	store, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener: true, PublicHost: address, ExternalURL: "http://" + address, Writer: io.Discard,
	})
	if err != nil {
		log.Fatal(err)
	}
	store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	store.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	handler := &server{store: store, json: store.HTTPHandler(), uploads: map[string]map[int][]byte{}}
	log.Fatal(http.ListenAndServe(address, handler))
}
